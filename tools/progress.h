// Progress: a line on standard error that tells how far long work has come.
#pragma once

#include <string>

namespace attend::tool {

/// Rewrites one line while standard error is a terminal, at most ten times a second, and removes
/// it at the end; elsewhere it does nothing.
class Progress {
 public:
  Progress();
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void show(const std::string& line);
  void clear();

 private:
  bool terminal_;
  bool shown_ = false;
  double last_ = -1.0;  // seconds
};

}  // namespace attend::tool
