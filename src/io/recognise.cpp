// The beginnings of files that people give by mistake.
#include "io/recognise.h"

namespace attend::io {

namespace {

struct Beginning {
  std::string_view bytes;
  const char* what;
  bool of_arrays = false;  // whether what is in it can be written in another format
};
constexpr Beginning beginnings[] = {
    {"version https://git-lfs", "a Git LFS pointer, not the file itself: git lfs pull fetches that"},
    {{"\x93NUMPY", 6}, "a .npy array"},
    {{"PK\x03\x04", 4}, "a zip archive, as torch.save and numpy.savez write them", true},
    {"GGUF", "a GGUF file"},
    {{"\x80\x02", 2}, "a pickle, as old torch.save writes it", true},
    {"{", "JSON; an index of shards has to be named .json"},
    {"<!", "a web page"},
};

}  // namespace

std::string recognised(std::string_view bytes, const std::string& writer) {
  for (const Beginning& beginning : beginnings) {
    if (bytes.substr(0, beginning.bytes.size()) == beginning.bytes) return std::string(" (it is ") + beginning.what + (beginning.of_arrays ? ": " + writer : "") + ')';
  }
  return "";
}

}  // namespace attend::io
