// Progress: a line on standard error that tells how far long work has come.
#include "progress.h"

#include <cstdio>
#include <unistd.h>

#include "clock.h"
#include "terminal.h"
#include "text.h"

namespace attend::tool {

Progress::Progress() : terminal_(is_terminal(STDERR_FILENO)) {}

void Progress::show(const std::string& line) {
  if (!terminal_) return;
  const double now = seconds_now();
  if (shown_ && now - last_ < 0.1) return;
  std::fprintf(stderr, "\r\033[K%s", terminal_text(line).c_str());
  std::fflush(stderr);
  last_ = now;
  shown_ = true;
}

void Progress::clear() {
  if (shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

}  // namespace attend::tool
