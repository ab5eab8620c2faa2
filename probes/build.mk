# probes/build.mk: what the Makefile includes to build kvprobe. What measures machines, and the
# libraries that it needs, stay out of libkvsim.
$(PROBE_LIB): $(call obj,$(PROBE_SRC))
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/kvprobe: $(call obj,probes/main.c) $(PROBE_LIB) $(KERN_LIB) $(LIB)
	$(if $(V),,@echo "  LD $@")
	$(Q)$(CC) $(SANFLAGS) $(CFLAGS) $(LDFLAGS) $^ $(PKG_LIBS) $(PROBE_PKG) -lm -o $@

# Vendor libraries that return known answers and errors, for tests: named as the real ones.
FAKES := $(BUILD)/tests/fake/libcuda.so.1 $(BUILD)/tests/fake/libnvidia-ml.so.1 $(BUILD)/tests/fake/libcufile.so.0
$(filter %/libcuda.so.1,$(FAKES)): tests/fake/libcuda.c
$(filter %/libnvidia-ml.so.1,$(FAKES)): tests/fake/libnvidia-ml.c
$(filter %/libcufile.so.0,$(FAKES)): tests/fake/libcufile.c
$(FAKES):
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -fPIC -shared $< -o $@
$(BUILD)/tests/test_probe_copy: | $(FAKES)

# Under the kernel's throttle and over a shaped link: two minutes, root, a quiet machine.
.PHONY: known
known: $(BUILD)/tests/test_probe_known
	KVS_KNOWN=1 $<
