// The bytes of a file, mapped into memory or read.
#pragma once

#include <attend/attend.hpp>
#include <string>
#include <vector>

namespace attend::io {

/// Regular files are mapped where possible; others (/dev/stdin, a fifo) are read to their end.
/// Moving it leaves data() where it was.
class InputFile {
 public:
  InputFile() noexcept = default;
  /// Bytes in memory under a name for messages.
  InputFile(std::string name, std::vector<unsigned char> bytes) noexcept;
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  static Status open(const std::string& path, InputFile* file) noexcept;

  const std::string& path() const noexcept { return path_; }
  const unsigned char* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  std::string path_;
  const unsigned char* data_ = nullptr;
  std::size_t size_ = 0;
  void* mapping_ = nullptr;         // of size_ bytes, or null
  std::vector<unsigned char> read_;  // else the bytes
};

}  // namespace attend::io
