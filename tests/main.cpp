// The test program: every *_test.cpp of this folder in one binary, run by doctest.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest.h>
