# Builds the libraries, the tool, the bench and the tests into build/ (or build/<triple>/ when cross-compiling).
#
#   make            libattend.a, libattend.so, libattend_io.a, attend, attend-bench
#   make demo       the seed's example and a real layer, computed and verified
#   make test       the tests        make check   sanitizers, emulated CPUs, symbols, clang (slow)
#   make bench      the benchmark    make install PREFIX=/usr/local DESTDIR=
#
# CXX, CXXFLAGS, ISAS="avx2 avx512" (none, or any of the architecture's), THREADS=0, WERROR=1,
# DOCTEST=dir (the folder that holds doctest.h or doctest/doctest.h), SANITIZE=address,undefined

VERSION := 0.1.0
CXX ?= g++
AR ?= ar
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

triple := $(shell $(CXX) -dumpmachine)
host := $(shell uname -m)
arch := $(firstword $(subst -, ,$(triple)))
BUILD ?= build$(if $(filter $(host),$(arch)),,/$(triple))

ifeq ($(arch),x86_64)
ISAS ?= avx2 avx512
else ifeq ($(arch),aarch64)
ISAS ?= neon
else
ISAS ?=
endif
flags_avx2 := -mavx2 -mfma
flags_avx512 := -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512
flags_neon :=
unknown := $(filter-out avx2 avx512 neon,$(ISAS))
$(if $(unknown),$(error ISAS: no such ISA: $(unknown)))

THREADS ?= 1
CXXFLAGS ?= -O3 -g
common := -std=c++17 -Iinclude -Isrc -MMD -MP -fPIC -Wall -Wextra $(if $(WERROR),-Werror) \
  -ffp-contract=off -fno-lto $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all) \
  $(foreach isa,$(ISAS),-DATTEND_ISA_$(isa)=1) -DATTEND_THREADS=$(THREADS)
engine_flags := $(common) -fno-exceptions -fno-rtti -fno-threadsafe-statics -fvisibility=hidden
link_flags := $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -pthread

engine_sources := $(wildcard src/*.cpp) src/kernels/scalar.cpp $(ISAS:%=src/kernels/%.cpp)
io_sources := $(wildcard src/io/*.cpp)
reference_sources := $(wildcard src/reference/*.cpp)
check_sources := $(wildcard tools/checks/*.cpp)
tool_sources := $(wildcard tools/*.cpp)
bench_sources := $(wildcard bench/*.cpp)
test_sources := $(wildcard tests/*.cpp)
object = $(patsubst %.cpp,$(BUILD)/%.o,$(1))

.PHONY: all demo test check bench install uninstall clean
all: $(BUILD)/libattend.a $(BUILD)/libattend.so $(BUILD)/libattend_io.a $(BUILD)/attend $(BUILD)/attend-bench

# A changed compiler or flag rebuilds: every object depends on this file, written when it differs.
settings := $(CXX) $(shell $(CXX) --version | head -n 1) $(CXXFLAGS) $(common)
stamp := $(BUILD)/settings
$(shell mkdir -p $(BUILD); [ "$$(cat $(stamp) 2>/dev/null)" = '$(settings)' ] || printf '%s\n' '$(settings)' > $(stamp))

$(call object,$(engine_sources)): flags = $(engine_flags)
$(call object,$(io_sources) $(reference_sources) $(check_sources) $(tool_sources) $(bench_sources)): flags = $(common)
$(foreach isa,$(ISAS),$(eval $(BUILD)/src/kernels/$(isa).o: flags = $(engine_flags) $(flags_$(isa))))
$(BUILD)/%.o: %.cpp $(stamp)
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(flags) -c $< -o $@

$(BUILD)/libattend.a: $(call object,$(engine_sources))
$(BUILD)/libattend_io.a: $(call object,$(io_sources))
$(BUILD)/libattend_reference.a: $(call object,$(reference_sources))
$(BUILD)/libattend_checks.a: $(call object,$(check_sources))
$(BUILD)/%.a:
	@rm -f $@
	$(AR) rcs $@ $(filter %.o,$^)
$(BUILD)/libattend.so: $(call object,$(engine_sources))
	$(CXX) $(CXXFLAGS) -shared -nodefaultlibs $(link_flags) -Wl,-soname,libattend.so.0 -o $@ $^ -lm -lc -lgcc

libraries := $(BUILD)/libattend_checks.a $(BUILD)/libattend_reference.a $(BUILD)/libattend_io.a $(BUILD)/libattend.a
$(BUILD)/attend: $(call object,$(tool_sources)) $(libraries)
	$(CXX) $(CXXFLAGS) -o $@ $^ $(link_flags)
$(BUILD)/attend-bench: $(call object,$(bench_sources)) $(libraries)
	$(CXX) $(CXXFLAGS) -o $@ $^ $(link_flags)
$(BUILD)/attend-test: $(call object,$(test_sources)) $(libraries)
	$(CXX) $(CXXFLAGS) -o $@ $^ $(link_flags)

# doctest: a folder that was given or found; else Debian's package, unpacked under build/.
doctest := $(firstword $(foreach folder,$(DOCTEST) $(DOCTEST)/doctest /usr/include/doctest /usr/local/include/doctest build/doctest/usr/include/doctest,\
  $(if $(wildcard $(folder)/doctest.h),$(folder))))
doctest_header := $(if $(doctest),$(doctest)/doctest.h,build/doctest/usr/include/doctest/doctest.h)
build/doctest/usr/include/doctest/doctest.h:
	@mkdir -p build/doctest
	@cd build/doctest && apt-get download doctest-dev >/dev/null 2>&1 && dpkg -x doctest-dev_*.deb . || \
	  { echo "make test needs doctest.h: install doctest-dev (as root, apt-get update first where package lists are empty) or give DOCTEST=folder" >&2; exit 1; }
$(call object,$(test_sources)): flags = $(common) -isystem $(dir $(doctest_header))
$(call object,$(test_sources)): | $(doctest_header)

demo: all
	$(BUILD)/attend demo
bench: all
	$(BUILD)/attend-bench
test: all $(BUILD)/attend-test
	$(RUN) $(BUILD)/attend-test
clean:
	rm -rf build

-include $(wildcard $(BUILD)/*/*.d $(BUILD)/*/*/*.d)
