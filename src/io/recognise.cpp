// The beginnings of files that people give by mistake.
#include "io/recognise.h"

namespace attend::io {

namespace {

struct Beginning {
  std::string_view bytes;
  const char* what;
};
constexpr Beginning beginnings[] = {
    {"version https://git-lfs", "a Git LFS pointer, not the file itself: git lfs pull fetches that"},
    {{"\x93NUMPY", 6}, "a .npy array"},
    {{"PK\x03\x04", 4}, "a zip archive, as torch.save and numpy.savez write them: safetensors.torch.save_file writes .safetensors"},
    {"GGUF", "a GGUF file"},
    {{"\x80\x02", 2}, "a pickle, as old torch.save writes it: safetensors.torch.save_file writes .safetensors"},
    {"{", "JSON; an index of shards has to be named .json"},
    {"<!", "a web page"},
};

}  // namespace

std::string recognised(std::string_view bytes) {
  for (const Beginning& beginning : beginnings) {
    if (bytes.substr(0, beginning.bytes.size()) == beginning.bytes) return std::string(" (it is ") + beginning.what + ')';
  }
  return "";
}

}  // namespace attend::io
