# The C++ and C of a guide as programs: with -v list=NAME their files, NAME-1.cpp and so on; with -v program=FILE the text of one.
#
# A block with a main is a program. All other blocks are one program, the last: the first block is the beginning of its main, each
# later one is a scope that sees what the first declares, and after each of them the attend::Status `status` has to be ok.
/^```/ && inside {
  if (lines ~ /int main\(/) {
    text[++count] = includes lines
    language[count] = inside
  } else {
    all_includes = all_includes includes
    parts = parts (parts ? "{\n" lines "}\n" : lines) "if (!status.ok()) return std::puts(status.message()), 1;\n"
  }
  inside = ""
  next
}
/^```(cpp|c)$/ { inside = substr($0, 4); includes = lines = ""; next }
inside && /^#include/ { includes = includes $0 "\n" }
inside && !/^#include/ { lines = lines $0 "\n" }
END {
  if (parts) text[++count] = "#include <cstdio>\n" all_includes "int main() {\n" parts "}\n"
  if (parts) language[count] = "cpp"
  for (i = 1; i <= count; ++i) {
    if (list) print list "-" i "." language[i]
    if (program ~ "-" i "[.]") printf "%s", text[i]
  }
}
