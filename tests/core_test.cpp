// Tests of attention(): random options against the reference, packed sequences, merging, bits.

#include "engine_test.h"

#include "../tools/checks/checks.h"

using namespace engine_test;

TEST_CASE("attention: random combinations of all options, against the reference") {
  for (Isa isa : usable_isas()) {
    CAPTURE(name_of(isa));
    const checks::Result result = checks::check_cores(isa, 91, share_of(2000));
    CHECK_MESSAGE(result.ok, result.message);
  }
}
