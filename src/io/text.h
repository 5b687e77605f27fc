// Names in messages: how they are spelled, and which others are near them.
#pragma once

#include <attend/attend.hpp>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace attend::io {

/// A message has 235 bytes. What is wrong comes last and is not to be cut: first the path gives way to it, which the caller knows, then a
/// tensor's name, whose middle goes; and of a list of names, which is written last, there are as many as still fit.
constexpr std::size_t longest_message = sizeof(Status) - sizeof(StatusCode) - 1, longest_name = 72, shortest_name = 32;

/// How many bytes a message has for what is wrong with a file, beside so many that are taken.
std::size_t room_beside(const std::string& path, std::size_t taken = 0);

/// The name in single quotes, control characters as \xNN, the middle of one of more bytes than `longest` as "...".
std::string quoted(std::string_view name, std::size_t longest = longest_name);

/// "a, b and 3 more": as many of the names as `room` bytes hold, but one at least.
std::string listed(const std::vector<std::string>& names, std::size_t room);

/// "'path': what".
Status file_error(const std::string& path, const std::string& what);

/// "'path': tensor 'name': what".
Status tensor_error(const std::string& path, const std::string& name, const std::string& what);

/// How many letters must be inserted, removed, replaced or swapped with their neighbour to make one name the other.
std::size_t edit_distance(std::string_view from, std::string_view to);

}  // namespace attend::io
