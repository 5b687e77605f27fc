// Where a verb's output goes.
#pragma once

#include <string>

namespace attend::tool {

/// Whether something is there that is neither a file nor a folder (/dev/stdout, a fifo).
bool is_device(const std::string& path);

/// Throws Failure if a file could not be written there, before work is done for nothing. Devices
/// are not touched.
void require_writable(const std::string& path);

/// Whether the path leads to where standard output goes.
bool is_standard_output(const std::string& path);

/// Throws Failure if two paths, of files that may not be there yet, lead to one: by their names, by links, or by device and inode.
void require_two_files(const char* name, const std::string& path, const char* other_name, const std::string& other);

/// Prints a line on standard error, unless the text is empty: what a verb did that its user may not have meant.
void print_remark(const char* verb, const std::string& text);

/// Writes a whole file, or none. Throws Failure.
void write_text(const std::string& path, const std::string& text);

}  // namespace attend::tool
