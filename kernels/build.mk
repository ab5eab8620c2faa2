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

# the codec's loops likewise; no contraction: all copies give the same bits
CODEC_SIMD     := scalar $(filter-out base,$(SIMD)) $(patsubst %,%bf16,$(filter avx512,$(SIMD)))
CODEC_KERN     := $(patsubst kernels/codec/%.c,%,$(sort $(wildcard kernels/codec/kern*.c)))
CODEC_OBJ      := $(foreach set,$(CODEC_SIMD),$(CODEC_KERN:%=$(BUILD)/kernels/codec/%-$(set).o))
codec_avx2     := -mavx2 -mfma -mf16c -mbmi2 -mpopcnt
codec_avx512   := -mavx512f -mavx512vl -mavx512bw -mavx512dq -mbmi2 -mpopcnt -mprefer-vector-width=512
codec_avx512bf16 := $(codec_avx512) -mavx512vbmi2 -mavx512bf16
define codec_rules
$(BUILD)/kernels/codec/%-$(1).o: kernels/codec/%.c Makefile kernels/build.mk $(BUILD)/config.mk
	@mkdir -p $$(@D)
	$$(if $$(V),,@echo "  CC $$@")
	$$(Q)$$(CC) $$(KVS_CPPFLAGS) $$(KVS_CFLAGS) $$(CFLAGS) $(if $(SAN),-O1 -fno-var-tracking,-O3) -fno-math-errno \
	    -DKVS_VEC_HEADER='"vec_$(1).h"' $$(codec_$(1)) -MMD -MP -c $$< -o $$@
build-fuzz/kernels/codec/%-$(1).o: kernels/codec/%.c $(BUILD)/config.mk | fuzz-tools
	@mkdir -p $$(@D)
	$$(FUZZ_CC) $$(KVS_CPPFLAGS) $$(KVS_CFLAGS) $$(FUZZ_FLAGS) -fno-math-errno -DKVS_VEC_HEADER='"vec_$(1).h"' $$(codec_$(1)) \
	    -fsanitize=fuzzer-no-link,address -MMD -MP -c $$< -o $$@
endef
$(foreach set,$(CODEC_SIMD),$(eval $(call codec_rules,$(set))))

# for libFuzzer: weights and codec, which read files
FUZZ_KERN := $(patsubst %.c,build-fuzz/%.o,$(filter kernels/weights/%.c kernels/codec/%.c,$(KERN_SRC))) \
             $(patsubst $(BUILD)/%,build-fuzz/%,$(CODEC_OBJ))

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

KERN_OBJ  := $(call obj,$(KERN_SRC)) $(SIMD_OBJ) $(CODEC_OBJ) $(SIMT_OBJ)
$(KERN_LIB): $(KERN_OBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
$(BUILD)/tests/test_mutants $(BUILD)/tests/test_kvf_gpu $(BUILD)/tests/test_kvq_gpu: $(MUTANT_OBJ)

# CUDA, where nvcc is; without it the back end is there and says so. The objects don't depend on
# CC or SAN: all build folders share them. A register spill is an error; ptxas's figures are kept.
NVCC ?= $(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc))
ifneq ($(NVCC),)
CUDA_HOME := $(patsubst %/bin/nvcc,%,$(NVCC))
CUDA_OBJ  := $(CU_SRC:kernels/ops/%.cu=build-cuda/%.o)
CUDA_CPPFLAGS := -isystem $(CUDA_HOME)/include -DKVS_HAVE_CUDA
PKG_LIBS  += $(CUDA_HOME)/lib64/libcudart_static.a
$(CUDA_OBJ): build-cuda/%.o: kernels/ops/%.cu kernels/build.mk
	@mkdir -p $(@D)
	$(if $(V),,@echo "  NVCC $@")
	$(Q)$(NVCC) -std=c++17 -O3 -Xcompiler -fno-threadsafe-statics,-fno-exceptions -D_GNU_SOURCE -Isim -I. -gencode arch=compute_80,code=sm_80 \
	    -gencode arch=compute_90a,code=sm_90a -gencode arch=compute_80,code=compute_80 \
	    -no-compress -Xptxas -v,-Werror,-warn-spills -MMD -MP -MF build-cuda/$*.d -c $< -o $@ 2>build-cuda/$*.ptxas \
	    || { cat build-cuda/$*.ptxas >&2; exit 1; }
# known instructions for tests/test_cubin.c, by the same rule
build-cuda/cubin_probe.o: tests/cubin_probe.cu kernels/build.mk
	@mkdir -p $(@D)
	$(if $(V),,@echo "  NVCC $@")
	$(Q)$(NVCC) -std=c++17 -O3 -D_GNU_SOURCE -Isim -I. -gencode arch=compute_80,code=sm_80 \
	    -gencode arch=compute_90a,code=sm_90a -no-compress -c $< -o $@
$(BUILD)/tests/test_cubin: | build-cuda/cubin_probe.o
$(call obj,kernels/cuda/cuda.c kernels/cuda/lt.c tests/test_cuda.c tests/test_cubin.c): KVS_CPPFLAGS += $(CUDA_CPPFLAGS)
KERN_OBJ  += $(CUDA_OBJ)
$(KERN_LIB): $(CUDA_OBJ)
endif

# A driver without a device, for tests/test_cuda.c; named as the real one.
NO_DEVICE := $(BUILD)/tests/fake/none/libcuda.so.1
$(NO_DEVICE): tests/fake/libcuda_none.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -fPIC -shared $< -o $@
$(BUILD)/tests/test_cuda: | $(NO_DEVICE)
