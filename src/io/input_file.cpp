// The bytes of a file, mapped into memory or read.
#include "attend/io.hpp"

#include "io/guarded.h"
#include "io/text.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace attend::io {

namespace {

/// Closes its descriptor when it goes.
struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

Status failure(const char* what, const std::string& path) {
  const int cause = errno;
  return Status::error(StatusCode::invalid_argument, "cannot %s %s: %s", what,
                       quoted(path).c_str(), std::strerror(cause));
}

}  // namespace

InputFile::InputFile(std::string name, std::vector<unsigned char> bytes) noexcept
    : path_(std::move(name)), read_(std::move(bytes)) {
  data_ = read_.data();
  size_ = read_.size();
}

InputFile::~InputFile() {
  if (mapping_ != nullptr) munmap(mapping_, size_);
}

InputFile::InputFile(InputFile&& other) noexcept { *this = std::move(other); }

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(read_, other.read_);
  return *this;
}

Status InputFile::open(const std::string& path, InputFile* file) noexcept {
  return guarded([&]() -> Status {
    const Descriptor descriptor{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    struct stat facts;
    if (descriptor.number < 0 || fstat(descriptor.number, &facts) != 0) {
      return failure("open", path);
    }
    InputFile opened;
    if (S_ISREG(facts.st_mode) && facts.st_size > 0) {
      const std::size_t size = static_cast<std::size_t>(facts.st_size);
      void* mapping = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.number, 0);
      if (mapping != MAP_FAILED) {
        opened.mapping_ = mapping;
        opened.data_ = static_cast<const unsigned char*>(mapping);
        opened.size_ = size;
      }
    }
    if (opened.mapping_ == nullptr) {
      std::vector<unsigned char> bytes;
      std::size_t filled = 0;
      for (;;) {
        if (filled == bytes.size()) bytes.resize(2 * filled + 65536);
        const ssize_t got = read(descriptor.number, bytes.data() + filled, bytes.size() - filled);
        if (got == 0) break;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return failure("read", path);
        filled += static_cast<std::size_t>(got);
      }
      bytes.resize(filled);
      opened = InputFile(std::string(), std::move(bytes));
    }
    opened.path_ = path;
    *file = std::move(opened);
    return {};
  });
}

}  // namespace attend::io
