# Builds the libraries, the tool, the bench and the tests into build/ (or build/<triple>/ when cross-compiling).
#
#   make            libattend.a, libattend.so, libattend_io.a, attend, attend-bench
#   make demo       the seed's example and a real layer, computed and verified
#   make test       the tests        make check   sanitizers, emulated CPUs, symbols, clang (slow)
#   make bench      the benchmark    make bench-peers    beside other libraries, from PyPI (bench/peers)
#   make bench-neon    the NEON loops by llvm-mca, which runs nothing (bench/neon_loops.py)
#   make bench-against BASE=HEAD    beside the build of a commit, calls in turn in one process (bench/builds)
#   make install PREFIX=/usr/local DESTDIR=    make uninstall
#
# CXX, CXXFLAGS, ISAS="avx2 avx512" (none, or any of the architecture's), THREADS=0, WERROR=1,
# DOCTEST=dir (the folder that holds doctest.h or doctest/doctest.h), SANITIZE=address,undefined,
# BUILD=dir, RUN=program (what runs programs for another CPU: an emulator), TEST_FLAGS (of doctest),
# NEON_FLAGS (of make bench-neon: --check), ISA, PREPARATIONS, CASES (of make bench-against, see bench/README.md), STAGES (of make check, see tests/check/run.sh), PEERS_FLAGS (of make bench-peers, see bench/peers/README.md)

VERSION := $(shell sed -n 's/^.define ATTEND_VERSION "\(.*\)"/\1/p' include/attend/attend.hpp)
CXX ?= g++
AR ?= ar
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

triple := $(shell $(CXX) -dumpmachine)
host := $(shell uname -m)
arch := $(firstword $(subst -, ,$(triple)))
BUILD ?= build$(if $(filter $(host),$(arch)),,/$(triple))

isas_x86_64 := avx2 avx512
isas_aarch64 := neon
ISAS ?= $(isas_$(arch))
# Intel's CPUs from Skylake to Cascade Lake do not cache what holds a jump across 32 bytes: loops that chance puts there took up to
# 2 % longer. Assemblers that cannot avoid it complain. By nops: with prefixes AVX2 took up to 0.5 % longer on Zen 5.
in_blocks := -Wa,-malign-branch-boundary=32 -Wa,-malign-branch=jcc+fused -Wa,-malign-branch-prefix-size=0
in_blocks := $(if $(shell echo | $(CXX) -x assembler $(in_blocks) -c -o /dev/null - 2>&1),,$(in_blocks))
flags_avx2 := -mavx2 -mfma $(in_blocks)
flags_avx512 := -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512
flags_neon :=
unknown := $(strip $(foreach isa,$(ISAS),$(if $(filter undefined,$(origin flags_$(isa))),$(isa))))
$(if $(unknown),$(error ISAS: no such ISA: $(unknown)))

THREADS ?= 1
CXXFLAGS ?= -O3 -g
common := -std=c++17 -Iinclude -Isrc -MMD -MP -fPIC -Wall -Wextra $(if $(WERROR),-Werror) \
  -ffp-contract=off -fno-lto $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all) \
  '-DATTEND_BUILT_ISAS(ISA)=$(foreach isa,$(ISAS) scalar,ISA($(isa)))' -DATTEND_THREADS=$(THREADS)
# Nothing unwinds through the engine: its tables would be 20 KB. Its frames are in .su files beside the objects, for a test to sum up.
engine_flags := $(common) -fno-exceptions -fno-rtti -fno-threadsafe-statics -fvisibility=hidden -fno-asynchronous-unwind-tables -fstack-usage
link_flags := $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -pthread

# From the lowest up: a floor includes none above it (tests/check/floors.sh).
floors := base data plan run call check api
engine_sources := $(foreach floor,$(floors),$(wildcard src/$(floor)/*.cpp)) src/kernels/scalar.cpp $(ISAS:%=src/kernels/%.cpp)
io_sources := $(wildcard src/io/*.cpp)
reference_sources := $(wildcard src/reference/*.cpp)
check_sources := $(wildcard tools/checks/*.cpp tools/checks/kernels/*.cpp)
tool_sources := $(wildcard tools/*.cpp)
bench_sources := $(wildcard bench/*.cpp)
test_sources := $(wildcard tests/*.cpp)
object = $(patsubst %.cpp,$(BUILD)/%.o,$(1))

.PHONY: all tests demo test check bench bench-peers bench-neon bench-against install uninstall clean
all: $(BUILD)/libattend.a $(BUILD)/libattend.so $(BUILD)/libattend_io.a $(BUILD)/attend $(BUILD)/attend-bench

# A changed compiler or flag rebuilds: every object depends on this file, written when it differs.
settings := $(strip $(CXX) $(shell $(CXX) --version | head -n 1) $(CXXFLAGS) $(engine_flags) $(foreach isa,$(ISAS),$(flags_$(isa))))
stamp := $(BUILD)/settings
$(shell mkdir -p $(BUILD))
ifneq ($(strip $(file <$(stamp))),$(settings))
$(file >$(stamp),$(settings))
endif

$(call object,$(engine_sources)): flags = $(engine_flags)
$(call object,$(io_sources) $(reference_sources) $(check_sources) $(tool_sources) $(bench_sources)): flags = $(common)
# With -O1, g++ keeps the accumulators of a tile in memory: their 2.7 KB of stack are too many under a call from C.
# g++ -O3 writes loops twice, for a stride of 1 and for others: 14 KB for two ISAs, and no faster.
one_version := $(if $(findstring clang,$(shell $(CXX) --version)),,-fno-version-loops-for-strides)
least_level := $(if $(filter -O1 -Og,$(CXXFLAGS)),-O2)
$(foreach isa,$(ISAS),$(eval $(BUILD)/src/kernels/$(isa).o: flags = $(engine_flags) $(one_version) $(least_level) $(flags_$(isa))))
# Checks, and what is packed and asked once, are small rather than unrolled (the checks alone are 87 KB with -O3); the rest is as fast
# with -O2 as with -O3, and a third smaller. A layer's call with -Os is 2 % of a short one (2 x 4 queries, 100 wide).
small := $(filter-out src/api/multi_head_attention.cpp,$(filter src/api/% src/check/% src/data/%,$(engine_sources)))
$(call object,$(small)): flags = $(engine_flags) -Os
$(call object,$(filter-out $(small) src/kernels/%,$(engine_sources)) src/kernels/scalar.cpp): flags = $(engine_flags) -O2
$(BUILD)/%.o: %.cpp $(stamp)
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(flags) -c $< -o $@

$(BUILD)/libattend.a: $(call object,$(engine_sources))
$(BUILD)/libattend_io.a: $(call object,$(io_sources))
$(BUILD)/libattend_reference.a: $(call object,$(reference_sources))
$(BUILD)/libattend_checks.a: $(call object,$(check_sources))
$(BUILD)/%.a:
	@rm -f $@
	$(AR) qcs $@ $(filter %.o,$^)
$(BUILD)/libattend.so: $(call object,$(engine_sources))
	$(CXX) $(CXXFLAGS) -shared -nodefaultlibs $(link_flags) -Wl,-soname,libattend.so.0 -o $@ $^ -lpthread -lm -lc -lgcc

libraries := $(BUILD)/libattend_checks.a $(BUILD)/libattend_reference.a $(BUILD)/libattend_io.a $(BUILD)/libattend.a
$(BUILD)/attend: $(call object,$(tool_sources)) $(libraries)
	$(CXX) $(CXXFLAGS) -o $@ $^ $(link_flags)
$(BUILD)/attend-bench: $(call object,$(bench_sources)) $(libraries)
	$(CXX) $(CXXFLAGS) -o $@ $^ $(link_flags)
$(BUILD)/attend-test: $(call object,$(test_sources)) $(libraries)
	$(CXX) $(CXXFLAGS) -o $@ $^ $(link_flags)

# doctest: a folder that was given or found; else Debian's package, unpacked under build/.
doctest := $(firstword $(foreach folder,$(DOCTEST) $(DOCTEST:%=%/doctest) /usr/include/doctest /usr/local/include/doctest build/doctest/usr/include/doctest,\
  $(if $(wildcard $(folder)/doctest.h),$(folder))))
doctest_header := $(if $(doctest),$(doctest)/doctest.h,build/doctest/usr/include/doctest/doctest.h)
build/doctest/usr/include/doctest/doctest.h:
	@mkdir -p build/doctest
	@cd build/doctest && apt-get download doctest-dev >/dev/null 2>&1 && dpkg -x doctest-dev_*.deb . || \
	  { echo "make test needs doctest.h: install doctest-dev (as root, apt-get update first where package lists are empty) or give DOCTEST=folder" >&2; exit 1; }
# They compile in 60 % of the time that -O3 takes.
$(call object,$(test_sources)): flags = $(common) -O1 -isystem $(dir $(doctest_header))
$(call object,$(test_sources)): | $(doctest_header)

# The README's program, as it stands there.
readme := $(if $(shell grep -s '^```cpp' README.md),$(BUILD)/readme-example)
$(BUILD)/readme-example.cpp: README.md
	awk '/^```/ { inside = /^```cpp/ && !seen++; next } inside' $< > $@
$(BUILD)/readme-example: $(BUILD)/readme-example.cpp $(BUILD)/libattend.a
	$(CXX) $(CXXFLAGS) $(common) -o $@ $^ $(link_flags)

demo: all
	$(RUN) $(BUILD)/attend demo
bench: all
	$(RUN) $(BUILD)/attend-bench

# Packages that cannot be had are left out, and tried again next time. Variables that choose OpenBLAS's kernels slow NumPy down.
peers := build/venv-peers
$(peers)/installed: bench/peers/requirements.txt
	rm -rf $(peers)
	python3 -m venv $(peers)
	all=yes; for package in $$(cat $<); do $(peers)/bin/pip install -q -c $< $$package || { echo "left out: $$package"; all=; }; done; \
	  [ -z "$$all" ] || touch $@
bench-peers: all $(peers)/installed
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE ATTEND_BUILD=$(BUILD) $(peers)/bin/python bench/peers/bench_peers.py \
	  --json $(BUILD)/peers.json --picture $(BUILD)/peers.svg $(PEERS_FLAGS)

# g++ and, where it is installed, clang.
neon_clang = $(shell command -v clang++-19 || command -v clang++)
neon_object = $(MAKE) -s ISAS=neon CXX='$(1)' BUILD=$(BUILD)/$(2) $(BUILD)/$(2)/src/kernels/neon.o
bench-neon:
	@command -v aarch64-linux-gnu-g++ > /dev/null || { echo "make bench-neon needs aarch64-linux-gnu-g++" >&2; exit 1; }
	@$(call neon_object,aarch64-linux-gnu-g++,neon-g++)
	@$(if $(neon_clang),$(call neon_object,$(neon_clang) --target=aarch64-linux-gnu,neon-clang++))
	@python3 bench/neon_loops.py g++=$(BUILD)/neon-g++/src/kernels/neon.o \
	  $(if $(neon_clang),clang++=$(BUILD)/neon-clang++/src/kernels/neon.o) $(NEON_FLAGS)

BASE ?= HEAD
ISA ?= best
PREPARATIONS ?= 30
bench-against:
	@MAKE='$(MAKE)' CXX='$(CXX)' bench/builds/alternate.sh $(BUILD) $(BASE) $(ISA) $(PREPARATIONS) $(CASES)

tests: all $(BUILD)/attend-test $(readme)
test: export ATTEND_BUILD := $(BUILD)
test: export ATTEND_TOOL := $(BUILD)/attend
test: export ATTEND_BENCH := $(BUILD)/attend-bench
test: export ATTEND_TOOL_RUN_PREFIX := $(RUN)
test: export ATTEND_EMULATOR ?= $(RUN)
test: tests
	$(RUN) $(BUILD)/attend-test $(TEST_FLAGS)
	$(if $(readme),$(RUN) $(readme))
check: tests
	MAKE='$(MAKE)' BUILD='$(BUILD)' tests/check/run.sh $(STAGES)
clean:
	rm -rf $(BUILD)

# What is installed where.
PREFIX ?= /usr/local
root := $(DESTDIR)$(PREFIX)
installed := bin/attend include/attend/attend.hpp include/attend/attend.h include/attend/io.hpp \
  lib/libattend.a lib/libattend_io.a lib/libattend.so lib/libattend.so.0 lib/libattend.so.$(VERSION) lib/pkgconfig/attend.pc
install: all
	install -d $(addprefix $(root)/,bin include/attend lib/pkgconfig)
	install -m 755 $(BUILD)/attend $(root)/bin
	install -m 644 $(wildcard include/attend/*) $(root)/include/attend
	install -m 644 $(BUILD)/libattend.a $(BUILD)/libattend_io.a $(root)/lib
	install -m 755 $(BUILD)/libattend.so $(root)/lib/libattend.so.$(VERSION)
	ln -sf libattend.so.$(VERSION) $(root)/lib/libattend.so.0
	ln -sf libattend.so.0 $(root)/lib/libattend.so
	printf '%s\n' 'prefix=$(PREFIX)' 'Name: attend' 'Description: multi-head attention on CPUs' 'Version: $(VERSION)' \
	  'Cflags: -I$${prefix}/include' 'Libs: -L$${prefix}/lib -lattend' 'Libs.private: -lm -lpthread' > $(root)/lib/pkgconfig/attend.pc
uninstall:
	rm -f $(addprefix $(root)/,$(installed))
	rmdir $(root)/include/attend 2>/dev/null || true

-include $(patsubst %.cpp,$(BUILD)/%.d,$(engine_sources) $(io_sources) $(reference_sources) $(check_sources) $(tool_sources) $(bench_sources) $(test_sources))
