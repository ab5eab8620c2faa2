#include "registers.h"

#include "test.h"

#include <stdio.h>
#include <string.h>

void hold_registers(const char *file, const struct register_budget *budget, size_t n)
{
    FILE *from = fopen(file, "r");
    char line[512];
    size_t at = n;
    unsigned n_seen = 0;

    if (!from)
        KVS_SKIP("no nvcc: the kernels were not compiled for a GPU");
    while (fgets(line, sizeof line, from)) {
        unsigned value;
        const char *part = strstr(line, "stack frame, ");
        for (size_t i = 0; i < n && strstr(line, "entry function"); i++)
            at = strstr(line, budget[i].kernel) ? i : at;
        if (part && sscanf(part, "stack frame, %u bytes spill stores", &value) == 1)
            assert_int_equal(value, 0);
        part = strstr(line, "Used ");
        if (!part || sscanf(part, "Used %u registers", &value) != 1)
            continue;
        assert_true(at < n);
        if (value > budget[at].most)
            fail_msg("%s: %u registers, want %u at most", budget[at].kernel, value,
                     budget[at].most);
        n_seen++;
    }
    (void)fclose(from);
    assert_int_equal(n_seen, 2 * n); /* sm_80, sm_90a */
}
