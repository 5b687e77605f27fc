// The terminal that a verb prints on: whether there is one, how wide it is, and whether it takes colours.
#pragma once

namespace attend::tool {

/// Whether a file descriptor is a terminal that takes escape sequences: TERM is neither missing nor dumb.
bool is_terminal(int descriptor);

/// The columns of the terminal on standard output; 100 if it is none.
int terminal_columns();

/// Whether standard output is a terminal that may be sent colours: NO_COLOR is not set.
bool terminal_has_colours();

}  // namespace attend::tool
