#!/bin/bash
# make check: what is too slow for make test. All stages, or those that are named, begin in their order; each prints its
# duration, and where it fails the end of its log (build/check/<stage>.log).
#
# What needs a tool that this machine lacks is skipped; with ATTEND_REQUIRE_TOOLS=1 that is a failure.
# JOBS (default: the number of CPUs) bounds the compilers of a stage, AT_ONCE (default: 2) the stages at a time: half of their
# time is that of one program on one CPU.
set -u
: "${MAKE:=make}" "${BUILD:=build}" "${JOBS:=$(nproc)}" "${AT_ONCE:=2}"
export MAKE
check=$BUILD/check
mkdir -p "$check"

find_tool() { for name in "$@"; do command -v "$name" && return; done; echo "needs one of: $*"; return 77; }
build() { "$MAKE" -s -j"$JOBS" BUILD="$check/$stage" "$@"; }
# Tests with a tenth of the shapes.
sample() { ATTEND_TEST_SHARE=10 build test "$@"; }

stage_gcc() { build tests WERROR=1 CXX="${GCC:-g++}"; }
stage_clang() { clang=$(find_tool clang++ clang++-19) || { echo "$clang"; return 77; }; build test WERROR=1 CXX="$clang"; }

# clang's sanitizers where there is clang.
sanitizing=$(find_tool clang++ clang++-19 g++ | head -n 1)
stage_address() { sample CXX="$sanitizing" CXXFLAGS='-O1 -g' SANITIZE=address,undefined; }
# Of the tests, the files alone that have a case of threads: all would take three times as long to compile.
stage_thread() {
  build test CXX="$sanitizing" CXXFLAGS='-O1 -g' SANITIZE=thread TEST_FLAGS='--test-case=*thread*' \
    test_sources="$(echo $(grep -li 'TEST_CASE.*thread' tests/*_test.cpp) $(ls tests/*.cpp | grep -v _test.cpp))"
}

stage_aarch64() {
  compiler=$(find_tool aarch64-linux-gnu-g++) || { echo "$compiler"; return 77; }
  emulator=$(find_tool qemu-aarch64-static qemu-aarch64) || { echo "$emulator"; return 77; }
  ATTEND_REQUIRE_ISA=neon sample WERROR=1 CXX="$compiler" RUN="$emulator -L /usr/aarch64-linux-gnu"
}
stage_neon_loops() {
  for tool in "llvm-mca-19 llvm-mca" aarch64-linux-gnu-g++ aarch64-linux-gnu-objdump python3; do
    found=$(find_tool $tool) || { echo "$found"; return 77; }
  done
  "$MAKE" -s BUILD="$check/$stage" bench-neon NEON_FLAGS=--check
}
# Older CPUs run the very programs that were built for this one, but for the tests of whole programs, whose
# output qemu's warnings would join. qemu 7.2 has no AVX-512, and its AVX2 takes 100 times as long as the CPU's, on one of which all
# tests took an hour: there run those of single kernels, dispatch, plans and operations.
emulate() {
  emulator=$(find_tool qemu-x86_64-static qemu-x86_64) || { echo "$emulator"; return 77; }
  ATTEND_REQUIRE_ISA=$2 ATTEND_TEST_SHARE=20 "$MAKE" -s BUILD="$BUILD" test RUN="$emulator -cpu $1" TEST_FLAGS="$3"
}
stage_westmere() { emulate Westmere scalar "-sfe=*tool_test*,*bench_test*"; }
stage_haswell() { emulate Haswell avx2 "-sf=*kernel_test*,*plan_test*,*operations_test*,*positions_test*,*status_test*"; }
stage_avx512() { tests/check/avx512.sh "$check"; }

stage_subsets() {
  (stage=avx2 && sample ISAS=avx2 LOW_PRECISION=0 CXXFLAGS=-O1) && (stage=no-isa && sample ISAS= CXXFLAGS=-O1)
}
# The tests ask for threads, so verify stands in for them.
stage_no_threads() {
  build all THREADS=0 CXXFLAGS=-O1 && "$check/$stage/attend" verify --seconds 2 || return
  ! nm -u "$check/$stage/libattend.a" | grep pthread
}

# The frames of every compiler, level and ISA; what they sum up to is in the log.
stage_stack() {
  for compiler in g++ $(find_tool clang++ clang++-19) $(find_tool aarch64-linux-gnu-g++); do
    [ -x "$(command -v "$compiler")" ] || continue
    for level in 1 2 3; do
      stage=stack/$(basename "$compiler")-O$level
      build CXX="$compiler" CXXFLAGS="-O$level" "$check/$stage/libattend.a" || return
      echo "$stage"
      ATTEND_SHOW_STACK=1 ATTEND_BUILD="$check/$stage" "$BUILD/attend-test" -tc='stack: *' || return
    done
  done
}

stage_symbols() { tests/check/undefined_symbols.sh "$BUILD" && tests/check/kernel_symbols.sh "$BUILD" && tests/check/baseline_code.sh "$BUILD"; }
stage_floors() { tests/check/floors.sh; }
stage_headers() { python=$(find_tool python3) || { echo "$python"; return 77; }; "$python" tests/check/headers.py; }
stage_embed() { tests/check/embed_size.sh "$BUILD"; }
stage_install() { tests/install/install.sh "$BUILD"; }
stage_cmake() { tests/install/cmake.sh "$BUILD" "$JOBS"; }
stage_python() { JOBS=$JOBS tests/check/python.sh "$BUILD" "$check/python"; }
stage_files() { tests/check/files.sh "$BUILD" "$check/files"; }
stage_amalgamation() { tests/check/amalgamation.sh "$BUILD" "$JOBS"; }
stage_rebuild() { tests/check/rebuild.sh; }
stage_mutation() { tests/mutation/mutate.sh "$BUILD"; }

# What fails soonest, then the longest first.
stages=(floors headers symbols embed install cmake python files amalgamation stack mutation aarch64 avx512 haswell address clang subsets westmere thread gcc rebuild no_threads neon_loops)
[ "$(uname -m)" = x86_64 ] || stages=(floors headers symbols embed install cmake python files amalgamation stack mutation address clang thread gcc rebuild no_threads)
[ $# = 0 ] || stages=("$@")
run_stage() {
  local name=$1 stage=$1 began=$SECONDS log=$check/$1.log code result end=  # a stage names folders by $stage
  "stage_$stage" > "$log" 2>&1
  code=$?
  case $code in
    0) result=passed ;;
    77) result="skipped: $(tail -n 1 "$log")"; [ -z "${ATTEND_REQUIRE_TOOLS:-}" ] || { result+=", a failure here"; code=1; } ;;
    *) result="FAILED, exit $code"; end=$(tail -n 30 "$log") ;;
  esac
  printf '%-12s %4d s  %s\n%s' "$name" $((SECONDS - began)) "$result" "${end:+$end
}"
  [ $code = 0 ] || [ $code = 77 ]
}

failed=() start=$SECONDS
declare -A stage_of=()
trap 'trap - TERM; kill 0' INT TERM  # what runs in the background does not hear of ^C
collect() {  # one stage that has ended
  local ended code
  wait -n -p ended
  code=$?
  [ $code = 0 ] || failed+=("${stage_of[$ended]}")
  unset "stage_of[$ended]"
}
for stage in "${stages[@]}"; do
  [ ${#stage_of[@]} -lt "$AT_ONCE" ] || collect
  run_stage "$stage" &
  stage_of[$!]=$stage
done
while [ ${#stage_of[@]} -gt 0 ]; do collect; done
echo "make check: $((SECONDS - start)) s, ${#failed[@]} failed ${failed[*]-}"
[ ${#failed[@]} = 0 ]
