# kernels/build.mk: what the Makefile includes to build $(KERN_LIB).

# simd.c once per instruction set; which one runs is decided at start-up
SIMD_OBJ  := $(SIMD:%=$(BUILD)/kernels/cpu/simd-%.o)
simd_base   := -DKVS_SIMD_BYTES=16
simd_avx2   := -DKVS_SIMD_BYTES=32 -mavx2 -mfma
simd_avx512 := -DKVS_SIMD_BYTES=64 -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mprefer-vector-width=512
$(SIMD_OBJ): $(BUILD)/kernels/cpu/simd-%.o: kernels/cpu/simd.c Makefile kernels/build.mk $(BUILD)/config.mk
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC $@")
	$(Q)$(CC) $(KVS_CPPFLAGS) $(KVS_CFLAGS) $(CFLAGS) -O3 -ffp-contract=fast -Wno-psabi -DKVS_SIMD=$* $(simd_$*) -MMD -MP -c $< -o $@

# the CUDA kernels for the host, through the SIMT shim: once as they are, and for the tests once with
# planted bugs to choose from
CXX       ?= c++
KVS_CXXFLAGS = -std=c++17 -fno-exceptions -fno-rtti -ffp-contract=off -fno-strict-aliasing -Wall -Wextra \
               -Wno-unknown-pragmas -Wno-unused-function $(if $(WERROR),-Werror) $(SANFLAGS)
CU_SRC    := $(sort $(wildcard kernels/ops/*.cu))
SIMT_OBJ  := $(BUILD)/kernels/simt/simt.o $(CU_SRC:%.cu=$(BUILD)/%.simt.o)
MUTANT_OBJ := $(CU_SRC:%.cu=$(BUILD)/%.mutant.o)
cxx = $(if $(V),,@echo "  CXX $@";)$(CXX) $(KVS_CPPFLAGS) $(KVS_CXXFLAGS) $(CFLAGS) -MMD -MP -c -x c++ $< -o $@
$(BUILD)/kernels/simt/simt.o: kernels/simt/simt.cc kernels/build.mk $(BUILD)/config.mk
	@mkdir -p $(@D)
	$(cxx)
$(BUILD)/%.simt.o: %.cu kernels/build.mk $(BUILD)/config.mk
	@mkdir -p $(@D)
	$(cxx)
$(BUILD)/%.mutant.o: %.cu kernels/build.mk $(BUILD)/config.mk
	@mkdir -p $(@D)
	$(cxx) -DKVS_MUTANTS

KERN_OBJ  := $(call obj,$(KERN_SRC)) $(SIMD_OBJ) $(SIMT_OBJ)
$(KERN_LIB): $(KERN_OBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
$(BUILD)/tests/test_mutants: $(MUTANT_OBJ)
