// What the machine is, as far as a report needs it.
#pragma once

#include <cstddef>
#include <string>

namespace attend::bench {

/// The CPU's name and the number of CPUs, for people.
std::string machine_name();

/// Bytes of the L3 cache; 32 MiB where it is not known, at most 256 MiB.
std::size_t last_cache_bytes();

/// Bytes of this process's memory that lie in huge pages; 0 where the system does not say.
std::size_t huge_page_bytes();

}  // namespace attend::bench
