// The tool's sentence encoder behind functions of C, for attend/models.py.
//
// No exception leaves a function: its message goes to *error, and what attend_code it stands for is returned.
#include <attend/attend.h>

#include <algorithm>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "api/c_options.h"
#include "failure.h"
#include "sentence_encoder.h"

using namespace attend;
using tool::SentenceEncoder;

namespace {

template <class Task>
attend_code guarded(attend_error* error, const Task& task) {
  Status status;
  try {
    task();
  } catch (const tool::Failure& failure) {
    status = Status::error(failure.code, "%s", failure.what());
  } catch (const std::bad_alloc&) {
    status = Status::error(StatusCode::out_of_memory, "out of memory");
  } catch (const std::exception& exception) {
    status = Status::error(StatusCode::unsupported, "%s", exception.what());
  }
  return report(status, error);
}

using Ids = std::vector<std::int32_t>;

}  // namespace

extern "C" {

struct attend_python_encoder {
  SentenceEncoder encoder;
};

/// What a model is: as in attend/_structs.py.
struct attend_python_encoder_sizes {
  int64_t width, layers, heads, most_tokens;
};

attend_code attend_python_encoder_make(const char* folder, const char* precision, int isa, const attend_threads* threads,
                                       attend_python_encoder** encoder, attend_python_encoder_sizes* sizes, attend_error* error) {
  return guarded(error, [&] {
    const Isa on = static_cast<Isa>(isa);
    *encoder = new attend_python_encoder{{folder, tool::find_model_precision("precision", precision, on), on, threads_of(*threads)}};
    const tool::EncoderConfig& config = (*encoder)->encoder.config();
    *sizes = {config.width, config.layers, config.heads, config.most_tokens};
  });
}

void attend_python_encoder_destroy(attend_python_encoder* encoder) { delete encoder; }

/// Writes the ids of a text, at most most_tokens, and how many they are.
attend_code attend_python_encoder_ids(const attend_python_encoder* encoder, const char* text, size_t bytes, int32_t* ids, size_t* count,
                                      attend_error* error) {
  return guarded(error, [&] {
    const Ids found = encoder->encoder.ids({text, bytes});
    std::copy(found.begin(), found.end(), ids);
    *count = found.size();
  });
}

/// The token of an id that the encoder gave, and its bytes.
const char* attend_python_encoder_token(const attend_python_encoder* encoder, int32_t id, size_t* bytes) {
  const std::string_view token = encoder->encoder.tokenizer().token(id);
  *bytes = token.size();
  return token.data();
}

/// Writes the vectors of texts, (count, width). One thread at a time may call it, or attention_weights.
attend_code attend_python_encoder_encode(attend_python_encoder* encoder, const char* const* texts, const size_t* bytes, size_t count, float* vectors,
                                         const attend_threads* threads, attend_error* error) {
  return guarded(error, [&] {
    std::vector<Ids> ids;
    for (size_t n = 0; n < count; ++n) ids.push_back(encoder->encoder.ids({texts[n], bytes[n]}));
    encoder->encoder.encode(ids, vectors, threads_of(*threads));
  });
}

/// Writes the attention weights of a layer for the ids of a text, (heads, count, count).
attend_code attend_python_encoder_attention_weights(attend_python_encoder* encoder, const int32_t* ids, size_t count, int64_t layer, float* weights,
                                                    const attend_threads* threads, attend_error* error) {
  return guarded(error, [&] { encoder->encoder.attention_weights(Ids(ids, ids + count), layer, weights, threads_of(*threads)); });
}

}  // extern "C"
