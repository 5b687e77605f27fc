// Activations of rows: ReLU, GELU in both of its forms, SiLU. Each maps -inf to 0, its limit, and NaN to NaN.

constexpr float log2_of_e = 0x1.715476p+0f;

ATTEND_INLINE Vector magnitude(Vector x) { return select(less(x, zero()), subtract(zero(), x), x); }
ATTEND_INLINE Vector positive_part(Vector x) { return select(less(x, zero()), zero(), x); }

// x / (1 + exp(-z)), by the exponential of -|z|, which cannot overflow.
ATTEND_INLINE Vector gated(Vector x, Vector z) {
  const Vector e = exp2(multiply(magnitude(z), broadcast(-log2_of_e)));
  const Vector numerator = multiply(maximum(broadcast(-3.4e38f), x), select(less(z, zero()), e, broadcast(1.0f)));
  return divide(numerator, add(broadcast(1.0f), e));
}

// The ratio of the normal distribution's upper tail to exp(-t^2 / 2), t from 0 to 14, over s = 1 / (1 + 11 t / 32), divided by s: minimax,
// 2.2e-8 of it.
alignas(64) constexpr float tail_coefficients[9] = {0x1.18d232p-3f, 0x1.19afc6p-3f, 0x1.de2b2ap-4f, 0x1.cd72cap-4f, -0x1.4202b4p-5f,
                                                   0x1.87022cp-3f, -0x1.163c76p-2f, 0x1.269aa4p-3f, -0x1.c7a13ap-6f};
constexpr float tail_slope = 0.34375f, tail_end = 14.0f;

// x Phi(x) = max(x, 0) - |x| Q(|x|): nothing cancels for x < 0, as it does in 1 + erf. Beyond 14 the tail is below 2^-126.
ATTEND_INLINE Vector gelu(Vector x) {
  const Vector t = minimum(broadcast(tail_end), magnitude(x));
  const Vector s = divide(broadcast(1.0f), multiply_add(t, broadcast(tail_slope), broadcast(1.0f)));
  Vector p = broadcast(tail_coefficients[8]);
  ATTEND_UNROLL
  for (int power = 7; power >= 0; --power) p = multiply_add(p, s, broadcast(tail_coefficients[power]));
  const Vector e = exp2(multiply(multiply(t, t), broadcast(-0.5f * log2_of_e)));
  return subtract(positive_part(x), multiply(multiply(t, multiply(p, s)), e));
}

// x / 2 (1 + tanh z) = x / (1 + exp(-2 z)), z = sqrt(2 / pi) (x + 0.044715 x^3).
ATTEND_INLINE Vector gelu_tanh(Vector x) {
  const Vector inner = multiply_add(multiply(x, x), broadcast(0.044715f), broadcast(1.0f));
  return gated(x, multiply(multiply(x, broadcast(0x1.988454p+0f)), inner));
}

template <Activation activation>
ATTEND_INLINE Vector activated(Vector x) {
  if (activation == Activation::relu) return positive_part(x);
  if (activation == Activation::gelu) return gelu(x);
  if (activation == Activation::gelu_tanh) return gelu_tanh(x);
  if (activation == Activation::silu) return gated(x, x);
  return x;
}

template <Activation activation>
void activate_rows(const ActivateArguments& a) {
  for (std::int64_t r = 0; r < a.rows; ++r) {
    float* const row = a.values + r * a.row_stride;
    const float* const multipliers = a.multiplier != nullptr ? a.multiplier + r * a.multiplier_row_stride : nullptr;
    for (std::int64_t c = 0; c < a.columns; c += lanes) {
      const std::int64_t left = a.columns - c;
      Vector x = activated<activation>(copy_in(row + c * a.stride, left, a.stride, 0.0f));
      if (multipliers != nullptr) x = multiply(x, copy_in(multipliers + c * a.multiplier_stride, left, a.multiplier_stride, 0.0f));
      copy_out(x, left, row + c * a.stride, a.stride);
    }
  }
}

void activate(const ActivateArguments* arguments) {
  switch (arguments->activation) {
    case Activation::none: return activate_rows<Activation::none>(*arguments);
    case Activation::relu: return activate_rows<Activation::relu>(*arguments);
    case Activation::gelu: return activate_rows<Activation::gelu>(*arguments);
    case Activation::gelu_tanh: return activate_rows<Activation::gelu_tanh>(*arguments);
    case Activation::silu: return activate_rows<Activation::silu>(*arguments);
  }
}
