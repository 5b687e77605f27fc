// attend::io: arrays and layers in files. A library of its own, libattend_io: unlike the engine it uses the C++ runtime.
//
// Every function returns a Status whose message names the file and what is wrong with it; no exception leaves it, and no file, however
// hostile, makes it crash. Quick start: load_layer, read_npy.
#ifndef ATTEND_IO_HPP
#define ATTEND_IO_HPP

#include <algorithm>
#include <attend/attend.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attend::io {

// ---------------------------------------------------------------------------------------------
// Tensors

/// The contiguous view of a shape of at most max_rank axes.
template <class Element>
View<Element> contiguous_view(Element* data, const std::vector<std::int64_t>& shape) noexcept {
  View<Element> view;
  view.data = data;
  view.rank = static_cast<int>(shape.size());
  std::int64_t stride = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    view.sizes[axis] = shape[static_cast<std::size_t>(axis)];
    view.strides[axis] = stride;
    stride *= view.sizes[axis];
  }
  return view;
}

/// A contiguous tensor, whose view points into `owned`, or into the object that it was read from, which then must outlive it. Moving
/// the tensor leaves the view valid. `view.data` is never null once the tensor was read.
template <class Element>
struct Tensor {
  View<const Element> view;
  std::vector<Element> owned;

  Tensor() = default;
  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(Tensor&&) noexcept = default;

  /// Gives the tensor `count` elements of its own, of that shape, all zero; returns their memory.
  Element* own(const std::vector<std::int64_t>& shape, std::size_t count) {
    owned.reserve(count > 0 ? count : 1);
    owned.assign(count, Element{});
    view = contiguous_view<const Element>(owned.data(), shape);
    return owned.data();
  }

  std::vector<std::int64_t> shape() const { return std::vector<std::int64_t>(view.sizes, view.sizes + view.rank); }

  /// Copies the elements into memory of the tensor's own, if they are not there.
  void keep() {
    if (view.absent() || view.data == owned.data()) return;
    std::size_t count = 1;
    for (const std::int64_t size : shape()) count *= static_cast<std::size_t>(size);
    const Element* const from = view.data;
    std::copy(from, from + count, own(shape(), count));
  }
};

using FloatTensor = Tensor<float>;
using Int64Tensor = Tensor<std::int64_t>;
using BoolTensor = Tensor<std::uint8_t>;  // 0 or 1; what options.mask and key_padding_mask take

// ---------------------------------------------------------------------------------------------
// .npy files

enum class ElementType : int { float16, bfloat16, float32, float64, int32, int64, boolean, uint8 };

/// "float16", ..., "int64", "bool", "uint8".
const char* element_type_name(ElementType type) noexcept;
/// Bytes of one element.
std::size_t element_bytes(ElementType type) noexcept;
/// Whether the type is one of the four floating-point types.
bool is_floating(ElementType type) noexcept;
/// Writes the nearest float32 of `count` elements of any alignment: exact from the 16-bit floats,
/// infinity beyond its range, 0 or 1 from bool.
void convert_to_float32(ElementType type, const void* elements, std::size_t count,
                        float* output) noexcept;

/// An array as a .npy file holds it, in C order (a file in Fortran order is reordered).
struct Array {
  ElementType type = ElementType::float32;
  std::vector<std::int64_t> shape;   // rank 0 (one element) to 4; sizes may be 0
  std::vector<unsigned char> bytes;  // a bool is 0 or 1
  std::string name;                  // the file, for messages
};

/// Reads a file. Its dtype is '<f2', '<f4', '<f8', '<i4', '<i8', '|u1', '|b1', or bfloat16
/// ('<V2' or '|V2', as ml_dtypes writes it); anything else is an error, as are bytes missing or left over.
Status read_npy(const std::string& path, Array* array) noexcept;
/// Reads a file into memory of the tensor's own: as float32, by to_float32; as int64, by to_int64; bool or uint8 as bool, 1 where it is not 0.
Status read_npy(const std::string& path, FloatTensor* tensor) noexcept;
Status read_npy(const std::string& path, Int64Tensor* tensor) noexcept;
Status read_npy(const std::string& path, BoolTensor* tensor) noexcept;
/// Reads the bytes of a .npy file; messages call it `name`.
Status parse_npy(const void* data, std::size_t size, const std::string& name,
                 Array* array) noexcept;

/// The array as float32: a view into array.bytes if these are float32, else a copy. Integers and bool are an error unless
/// `accept_integers`.
Status to_float32(const Array& array, FloatTensor* tensor, bool accept_integers = false) noexcept;
/// A copy of an array of int32 or int64 as int64; any other type is an error.
Status to_int64(const Array& array, Int64Tensor* tensor) noexcept;

/// Writes elements in C order, as .npy version 1: the whole file, or none.
Status write_npy(const std::string& path, ElementType type, const std::vector<std::int64_t>& shape,
                 const void* elements) noexcept;

// ---------------------------------------------------------------------------------------------
// .safetensors and GGUF files

/// The bytes of a file: mapped where possible, else (/dev/stdin, a fifo) read to its end. Moving the object leaves data() where it was.
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
  void* mapping_ = nullptr;          // size_ bytes; null where the file was read
  std::vector<unsigned char> read_;  // the bytes of a file that was read
};

/// Pairs of a key and a text: the __metadata__ of a file.
using Metadata = std::vector<std::pair<std::string, std::string>>;

/// What a file's header says of one tensor.
struct TensorEntry {
  std::string name;
  std::string dtype;  // "F32", "BF16", "I64", "Q8_0", ..., as the file's format spells it
  std::vector<std::int64_t> shape;
  std::size_t begin = 0, end = 0;  // bytes, counted from the first tensor's
  std::size_t shard = 0;           // the number of its file
};
using SafetensorsEntry = TensorEntry;

/// What a GGUF file says of its model; all is empty or 0 where it says nothing, as no .safetensors file does.
struct ModelFacts {
  std::string architecture;                           // "llama", "qwen2", ...
  std::vector<std::int64_t> num_heads, num_kv_heads;  // of all layers, or of each
  std::int64_t head_width = 0;
  std::int64_t rotary_width = 0;  // how many elements of a head are rotated
  double rotary_base = 0.0, rotary_factor = 0.0;
  std::string rotary_scaling;  // "none", "linear", "yarn", ...
  double norm_epsilon = 0.0, scale = 0.0, softcap = 0.0;
};

/// A file of weights: tensors by their names. Files are mapped into memory where possible, and must not change meanwhile.
class TensorFile {
 public:
  /// Opens a .safetensors file, the index of its shards, or a GGUF file, which its first bytes tell.
  static Status open(const std::string& path, TensorFile* file) noexcept;

  const std::string& path() const noexcept { return path_; }
  /// Sorted by name.
  const std::vector<TensorEntry>& entries() const noexcept { return entries_; }
  /// The entry of that name; null if there is none.
  const TensorEntry* find(std::string_view name) const noexcept;
  /// The end - begin bytes of an entry, as the file has them, of any alignment.
  const unsigned char* bytes(const TensorEntry& entry) const noexcept;
  /// What the file says of its model.
  const ModelFacts& model() const noexcept { return model_; }
  /// The __metadata__ of a .safetensors file, sorted by key.
  const Metadata& metadata() const noexcept { return metadata_; }

  /// Reads a tensor of at most four axes as float32: F32 in the file's own memory where that is aligned to 4 bytes, else as a copy; F16,
  /// BF16, F64, and GGUF's Q8_0, Q4_0 and Q4_1, as a converted copy. Other dtypes are an error. The file must outlive the tensor.
  Status read(const std::string& name, FloatTensor* tensor) const noexcept;
  /// Reads a tensor that has to have a shape.
  Status read(const std::string& name, const std::vector<std::int64_t>& shape, FloatTensor* tensor) const noexcept;

 protected:
  /// One file: its bytes, and where the tensors' begin.
  struct Shard {
    InputFile input;
    std::size_t data_begin = 0;
  };
  Status sort_by_name(const std::string& path);
  std::string path_;
  std::vector<Shard> shards_;
  std::vector<TensorEntry> entries_;
  ModelFacts model_;
  Metadata metadata_;
};

/// A file, or all files that the index of a sharded model names, as one: opened and checked. The header's JSON is strict, its names are
/// unique, and the tensors' bytes fit their shapes and fill the file without overlap or hole.
class SafetensorsFile : public TensorFile {
 public:
  /// A path that ends in .json is an index: its weight_map says which file beside it holds which tensor.
  static Status open(const std::string& path, SafetensorsFile* file) noexcept;
  /// Takes the bytes of a file; messages call it `name`.
  static Status parse(std::vector<unsigned char> bytes, const std::string& name,
                      SafetensorsFile* file) noexcept;

 private:
  friend class TensorFile;
  static Status load(InputFile input, SafetensorsFile* file);
  static Status load_index(const InputFile& index, SafetensorsFile* file);
  static Status load_any(InputFile input, SafetensorsFile* file);
};

/// A value of a GGUF file's header, as it lies there.
struct GgufValue {
  std::string_view key;
  bool is_array = false;
  std::uint32_t kind = 0;   // of its elements, as GGUF numbers them
  std::uint64_t count = 1;  // of its elements
  std::string_view elements;
};

/// A GGUF file of version 2 or 3, as the gguf package writes it: opened and checked. Its names are unique, and the tensors' bytes lie in the
/// file. A tensor's shape is (out, in), as everywhere here: GGUF itself names the inner axis first.
class GgufFile : public TensorFile {
 public:
  static Status open(const std::string& path, GgufFile* file) noexcept;
  /// Takes the bytes of a file; messages call it `name`.
  static Status parse(std::vector<unsigned char> bytes, const std::string& name, GgufFile* file) noexcept;

  /// The header's value of that key; null if there is none.
  const GgufValue* find_value(std::string_view key) const noexcept;
  /// The texts of a value, or its numbers, true being 1: one, or all of an array. Texts are of any bytes, which lie in the file. A value
  /// that is not there is an error, as is one of the other kind.
  Status read_texts(const std::string& key, std::vector<std::string_view>* texts) const noexcept;
  Status read_numbers(const std::string& key, std::vector<double>* numbers) const noexcept;

 private:
  friend class TensorFile;
  static Status load(InputFile input, GgufFile* file);
  std::vector<GgufValue> values_;
};

/// A tensor to write: contiguous float32 values, narrowed (to the nearest, ties to even) to dtype; or bytes as the file is to have them.
struct SafetensorsTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  const float* values = nullptr;
  std::string dtype = "F32";  // or "F16" or "BF16"; of stored bytes any
  std::string_view stored = {};  // taken instead of `values` where it is not null
};

/// Writes the whole file, or none. Names are unique UTF-8.
Status write_safetensors(const std::string& path, const std::vector<SafetensorsTensor>& tensors,
                         const Metadata& metadata = {}) noexcept;
/// Gives the bytes of such a file, as SafetensorsFile::parse takes them.
Status write_safetensors(std::vector<unsigned char>* bytes, const std::vector<SafetensorsTensor>& tensors, const Metadata& metadata = {}) noexcept;

// ---------------------------------------------------------------------------------------------
// Layers

/// What no file says of a layer.
struct LoadOptions {
  std::int64_t num_kv_heads = 0;  // 0: as many as the keys' rows are enough for
  Isa isa = Isa::best;
  float dropout = 0.0f;
  RotaryEmbedding rotary;      // as in MultiHeadAttentionConfig
  float norm_epsilon = 0.0f;   // 0: a GGUF file's own, else 1e-6; as in MultiHeadAttentionConfig, as the next three
  WeightType weight_type = WeightType::float32;
  Arithmetic arithmetic = Arithmetic::float32;
  const LowPrecision* low_precision = nullptr;
  /// low_precision_int4(), taken instead where the layer's weight_type is int4: for those who do not know what a file has.
  const LowPrecision* low_precision_int4 = nullptr;
  int weight_group = 0;  // of int4; 0: the file's, where its matrices are of int4, else 32
  /// The layer's weight_type is what its four matrices are stored as (F32 and F64: float32), instead of the one above; they must agree.
  bool weight_type_of_file = false;
  /// A GGUF file's layer is rotated as the file says, unless `rotary` is given, or this; where names are those of models that rotate, it says
  /// that no rotation is right.
  bool unrotated = false;
  /// The name of T5's table, where another layer of the file holds it; or "none".
  std::string relative_bias;
  /// Tensors, or all of NAME.*, under the prefix that may stay unused; names may begin with the prefix or behind it.
  std::vector<std::string> ignored;
  /// What messages call these arguments, for a program whose users know them by other names.
  struct Names {
    const char *num_heads = "num_heads", *num_kv_heads = "num_kv_heads", *relative_bias = "relative_bias", *ignored = "ignored",
               *weight_type = "weight_type", *weight_group = "weight_group", *rotary = "rotary", *unrotated = "unrotated";
  } names = {};
};

/// A matrix (out, in): floats, or what is stored, of `type`; all else is absent.
struct FileMatrix {
  std::string name;   // of its tensor
  std::string dtype;  // of that; "int4" where the file packs integers of 4 bits
  std::int64_t rows = 0, columns = 0;
  ConstTensorView floats;
  StoredMatrix stored;
  WeightType type = WeightType::float32;  // of `stored`
  int group = 0;                          // of int4

  bool is_stored() const { return floats.absent(); }
  /// Some of its rows.
  FileMatrix slice(std::int64_t first, std::int64_t count) const;
};

/// The weights of a layer, in the shapes that MultiHeadAttention::make and a call's options take.
struct LayerWeights {
  /// find_layer sets key_size, query_size, value_size, num_hiddens (rows of the query projection), output_size, bias (whether there is
  /// any), qk_norm, norm_queries and norm_keys (whether there are weights), weight_type and weight_group; the caller fills in the rest.
  MultiHeadAttentionConfig config;
  /// Rows of the key and value projections: num_hiddens, or a divisor of it where several query
  /// heads share one key/value head.
  std::int64_t key_value_hiddens = 0;
  /// Views into `tensors` and, of matrices in the type that find_layer was asked for, into `projections`; a bias that the file lacks is absent.
  MultiHeadAttentionWeights weights;
  bool weight_type_of_file = false;  // what find_layer was asked for
  float scale = 0.0f;          // the factor of the scores; 0: 1 / sqrt(D)
  FloatTensor sinks;           // (H,); absent if the file lacks it
  FloatTensor relative_bias;   // the table of T5's bias, (buckets, H); absent if the file lacks it
  const char* convention = "";  // whose names the tensors have, as the table of find_layer says
  std::string prefix;           // the prefix that find_layer was given
  /// Names of all other tensors under the prefix: the layer is the file's only if they change nothing.
  std::vector<std::string> unused;
  std::vector<FileMatrix> matrices;   // the tensors of the four projections' matrices, each once, with rows in the file's order
  bool transposed = false;            // whether these are stored (in, out)
  std::vector<FloatTensor> tensors;  // they may view the file, which must outlive them, as may the next
  std::vector<FileMatrix> projections;  // of queries, keys, values and output, as `weights` has them
  std::vector<Tensor<std::uint16_t>> halves;  // of `projections`, as the next two
  std::vector<Tensor<std::int8_t>> integers;
  std::vector<Tensor<std::uint8_t>> bytes;  // nibbles and zeros
};

/// Finds the layer whose names begin with `prefix` (a trailing dot is optional; "" is the whole
/// file) by exactly one of the conventions:
///
///   D2L               W_q.weight  W_k.weight  W_v.weight  W_o.weight
///   torch             in_proj_weight (3E, E)  out_proj.weight, with in_proj_bias (3E,)
///   torch (separate)  q_proj_weight  k_proj_weight  v_proj_weight  out_proj.weight, the same bias
///   BERT              self.query.weight  self.key.weight  self.value.weight  output.dense.weight
///   ViT               attention.query.weight  attention.key.weight  attention.value.weight  output.dense.weight
///   DistilBERT        q_lin.weight  k_lin.weight  v_lin.weight  out_lin.weight
///   Llama             q_proj.weight  k_proj.weight  v_proj.weight  o_proj.weight
///   CLIP (Whisper)    q_proj.weight  k_proj.weight  v_proj.weight  out_proj.weight
///   T5                q.weight  k.weight  v.weight  o.weight, without biases; scores are not scaled
///   GPT-2             c_attn.weight (E, 3E)  c_proj.weight (E, E), stored (in, out)
///   timm (DINO)       qkv.weight (3E, E)  proj.weight
///   Phi-3             qkv_proj.weight ((H + 2G) D, E)  o_proj.weight
///   MPT               Wqkv.weight ((H + 2G) D, E)  out_proj.weight
///   Falcon            query_key_value.weight ((H + 2G) D, E)  dense.weight: for each head of keys its heads of
///   (BLOOM, GPT-NeoX) queries, its keys and its values; only num_heads tells which is which
///
/// A tensor of several projections has the rows of the queries, the keys, the values, in this order, where the table says nothing else.
/// Each X.weight of the other conventions may have an X.bias. Beside them may be RMS norms of the heads, q_norm.weight and k_norm.weight
/// (head width,); sinks (H,); and relative_attention_bias.weight (buckets, H). GPT-2's and GPT-NeoX's causal masks, `bias` and
/// `masked_bias`, pass as used: options.causal does what they do. Sizes are checked against each other, but for the number of heads.
///
/// A matrix is read as float32, but for one that the file stores in options.weight_type (or in its own type, with
/// options.weight_type_of_file), which stays as it is. F16, BF16, I8 and int4 are stored so. An X.weight of I8 has its scales beside it as
/// compressed-tensors stores them, X.weight_scale, (N,) or (N, 1), of floats: its numbers are the integers times the scale of their row, or
/// column where a matrix is stored (in, out), with scales (N,) or (1, N). An X.weight_zero_point must be zeros.
///
/// A matrix of int4 is what compressed-tensors calls pack-quantized: in place of X.weight there are X.weight_packed (N, K / 8) of I32, eight
/// numbers in each from the lowest bits on; X.weight_scale (N, groups), of floats, of groups of 32, 64 or 128, or of whole rows;
/// X.weight_zero_point, which may be missing, (N / 8, groups) of I32, those of eight rows in each; and X.weight_shape (2,) of I64. All are
/// rounded up. It stays as it is where the layer's group is that of the file.
///
/// The layers of a GGUF file are those of its blocks, with the prefix blk.N: attn_q.weight  attn_k.weight  attn_v.weight
/// attn_output.weight, or attn_qkv.weight, each with a .bias or without; attn_q_norm.weight, attn_k_norm.weight and attn_sinks.weight. The
/// block's other tensors, and norms before and after the layer, are none of it. num_heads may be 0: the file says it. Rows of queries
/// and keys that the file has in the order of a rotation of (2n, 2n + 1), as llama's, come out in that of (n, n + R / 2). Blocks of
/// Q8_0, Q4_0 and Q4_1 are read as float32; but Q4_0 is int4 in groups of 32, and so is a matrix of Q4_1 in which all that is added is a whole
/// number of steps, from -15 to 0: these stay as they are where int4 is asked for.
///
/// If no convention matches, the message names prefixes under which one does, the nearest first; if there are none, tensors
/// with similar names, and the conventions.
Status find_layer(const TensorFile& file, const std::string& prefix, LayerWeights* layer,
                  std::int64_t num_heads = 0, const LoadOptions& options = {}) noexcept;

/// The prefixes under which find_layer finds layers, without final dots, the shortest first and those of a length by their letters.
Status find_prefixes(const TensorFile& file, std::vector<std::string>* prefixes) noexcept;

/// A layer of a file, ready to run: `layer.attention.forward(..., layer.options)`.
struct LoadedLayer {
  MultiHeadAttention attention;
  /// What calls take besides arrays: scale, softcap, sinks and relative_position_bias as the file says, which view the members below; the
  /// caller sets all else. T5's bias is bidirectional but under a prefix with "decoder" between its dots, and the caller's to set where
  /// names leave that out.
  AttentionOptions options;
  const char* convention = "";  // as in LayerWeights
  FloatTensor sinks, relative_bias;
  /// What a GGUF file said of the layer, and what became of its types, "rotated by ..."; that weights by Llama's or Phi-3's names, which want a
  /// rotation, were given none.
  std::vector<std::string> remarks;
};

/// Opens a .safetensors file, the index of its shards (model.safetensors.index.json), or a GGUF file, and makes the layer that find_layer finds
/// there; the layer does not need the file afterwards. A tensor under the prefix that the layer does not use is an error that names it,
/// unless options.ignored accepts it; so is an ignored name that is not there. No one can ignore what changes every result and
/// attend lacks: bias_k and bias_v of torch's add_bias_kv, logit_scale of attention by cosines, the bias of a weight that is used
/// without one, and others that the message explains. On an error *layer is as it was.
Status load_layer(const std::string& path, const std::string& prefix, std::int64_t num_heads, LoadedLayer* layer,
                  const LoadOptions& options = {}) noexcept;
/// The second half of load_layer: makes the layer that find_layer has found in an open file, for callers whose options depend on it, as
/// frequencies do on the width of a head, found.config.num_hiddens / num_heads. Both halves get the same weight_type and weight_group.
Status make_layer(const TensorFile& file, LayerWeights found, std::int64_t num_heads, LoadedLayer* layer,
                  const LoadOptions& options = {}) noexcept;

}  // namespace attend::io

#endif  // ATTEND_IO_HPP
