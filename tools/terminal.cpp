// The terminal that a verb prints on: whether there is one, how wide it is, and whether it takes colours.
#include "terminal.h"

#include <cstdlib>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>

namespace attend::tool {

namespace {

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

bool is_terminal(int descriptor) {
  const std::string_view term = environment("TERM");
  return isatty(descriptor) == 1 && !term.empty() && term != "dumb";
}

int terminal_columns() {
  winsize size = {};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

bool terminal_has_colours() { return is_terminal(STDOUT_FILENO) && environment("NO_COLOR").empty(); }

}  // namespace attend::tool
