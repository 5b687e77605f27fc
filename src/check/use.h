// Which options a kind of call has a use for.
#pragma once

#include "attend/attend.hpp"

namespace attend {

/// The kinds of calls that have no use for some of the options. (A layer's forward without a cache has one for all.)
enum CallKind : unsigned { attention_call = 1, cached_attention_call = 2, dot_product_call = 4, cached_forward_call = 8, project_call = 16 };
/// Whether such a call has a use for all options that are given; else the first that it would ignore is named.
Status validate_use(CallKind call, const AttentionOptions& options) noexcept;

}  // namespace attend
