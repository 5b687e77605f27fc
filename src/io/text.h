// Names in messages: how they are spelled, and which others are near them.
#pragma once

#include <attend/attend.hpp>
#include <cstddef>
#include <string>
#include <string_view>

namespace attend::io {

/// The name in single quotes, control characters as \xNN, the middle of a long one as "...".
std::string quoted(std::string_view name);

/// "'path': tensor 'name': what".
Status tensor_error(const std::string& path, const std::string& name, const std::string& what);

/// How many letters must be inserted, removed, replaced or swapped with their neighbour to make one name the other.
std::size_t edit_distance(std::string_view from, std::string_view to);

}  // namespace attend::io
