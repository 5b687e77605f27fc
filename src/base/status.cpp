// Status: what a call came to.
#include <cstdarg>
#include <cstdio>

#include "attend/attend.hpp"

namespace attend {

Status Status::error(StatusCode code, const char* format, ...) noexcept {
  Status status;
  status.code_ = code;
  std::va_list values;
  va_start(values, format);
  std::vsnprintf(status.message_, sizeof status.message_, format, values);
  va_end(values);
  return status;
}

}  // namespace attend
