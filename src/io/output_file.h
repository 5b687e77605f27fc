// A file being written that appears under its name only when it is whole.
#pragma once

#include <attend/attend.hpp>
#include <string>

namespace attend::io {

/// Writes regular files under a temporary name in the same folder, which commit renames; writes anything else (/dev/stdout, a fifo)
/// directly. Errors name the path and the cause.
///
/// Destroying it without a commit that succeeded leaves a regular target as it was.
class OutputFile {
 public:
  OutputFile() noexcept = default;
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// An existing file keeps its permissions; a symbolic link is followed.
  Status open(const std::string& path) noexcept;
  Status write(const void* data, std::size_t bytes) noexcept;
  Status commit() noexcept;

 private:
  Status failure(const char* what) const noexcept;
  void discard() noexcept;
  std::string path_;       // the path as the caller gave it
  std::string target_;     // the path with symbolic links resolved
  std::string temporary_;  // empty if written directly
  int descriptor_ = -1;
};

}  // namespace attend::io
