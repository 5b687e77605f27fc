// A file being written that appears under its name only when it is whole.
#include "io/output_file.h"

#include "io/guarded.h"
#include "io/text.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace attend::io {

OutputFile::~OutputFile() { discard(); }

Status OutputFile::failure(const char* what) const noexcept {
  const int cause = errno;
  return guarded([&] {
    return Status::error(StatusCode::invalid_argument, "cannot %s %s: %s", what,
                         quoted(path_).c_str(), std::strerror(cause));
  });
}

void OutputFile::discard() noexcept {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
  descriptor_ = -1;
  temporary_.clear();
}

Status OutputFile::open(const std::string& path) noexcept {
  return guarded([&]() -> Status {
    discard();
    path_ = target_ = path;
    struct stat facts;
    const bool exists = stat(path.c_str(), &facts) == 0;
    if (path == "/dev/stdout" || (exists && !S_ISREG(facts.st_mode))) {
      // A second name for standard output, as opening it anew would start at its beginning.
      descriptor_ = path == "/dev/stdout" ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                                          : ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
      return descriptor_ < 0 ? failure("open") : Status();
    }
    if (exists) {
      char resolved[PATH_MAX];
      if (access(path.c_str(), W_OK) != 0 || realpath(path.c_str(), resolved) == nullptr) {
        return failure("write");
      }
      target_ = resolved;
    }
    const std::size_t slash = target_.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : target_.substr(0, slash + 1);
    for (int attempt = 0; descriptor_ < 0; ++attempt) {
      std::string name = folder + ".attend-" + std::to_string(getpid()) + "-" +
                         std::to_string(attempt) + ".tmp";
      descriptor_ = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ >= 0) temporary_ = std::move(name);
      else if (errno != EEXIST) return failure("create");
    }
    if (exists && fchmod(descriptor_, facts.st_mode & 07777) != 0) {
      const Status status = failure("create");
      discard();
      return status;
    }
    return {};
  });
}

Status OutputFile::write(const void* data, std::size_t bytes) noexcept {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, from, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failure("write");
    from += written;
    bytes -= static_cast<std::size_t>(written);
  }
  return {};
}

Status OutputFile::commit() noexcept {
  const int closed = close(descriptor_);
  descriptor_ = -1;
  Status status = closed == 0 ? Status() : failure("write");
  if (status.ok() && !temporary_.empty()) {
    if (std::rename(temporary_.c_str(), target_.c_str()) == 0) temporary_.clear();
    else status = failure("write");
  }
  discard();
  return status;
}

}  // namespace attend::io
