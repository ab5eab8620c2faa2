# probes/build.mk: what the Makefile includes to build kvprobe. What measures machines, and the
# libraries that it needs, stay out of libkvsim.
$(PROBE_LIB): $(call obj,$(PROBE_SRC))
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/kvprobe: $(call obj,probes/main.c) $(PROBE_LIB) $(LIB)
	$(if $(V),,@echo "  LD $@")
	$(Q)$(CC) $(SANFLAGS) $(CFLAGS) $(LDFLAGS) $^ $(PKG_LIBS) $(PROBE_PKG) -lm -o $@
