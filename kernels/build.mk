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

KERN_OBJ  := $(call obj,$(KERN_SRC)) $(SIMD_OBJ)
$(KERN_LIB): $(KERN_OBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
