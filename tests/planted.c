#include "planted.h"

#include "test.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const planted_waits[] = {"kvs_barrier()", "kvs_cp_wait<", "kvs_shfl_xor(",
                                     "= kvf_ballot(", NULL};

static bool has(const char *line, const char *const *marks)
{
    for (; *marks; marks++)
        if (strstr(line, *marks))
            return true;
    return false;
}

unsigned planted_lines(const char *name, const char *const *marks, unsigned n_planted[PLANTED_IDS])
{
    char path[64], text[3][512] = {""}; /* the line before, it, the next */
    unsigned n = 0;

    snprintf(path, sizeof path, "kernels/ops/%s.cu", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (bool more = true; more;) {
        memmove(text[0], text[1], 2 * sizeof text[0]);
        text[2][0] = '\0';
        more = fgets(text[2], sizeof text[2], file) != NULL;
        if (has(text[1], marks)) {
            n++;
            if (!strstr(text[0], "KVS_MUT(") && !strstr(text[1], "KVS_MUT(") &&
                !strstr(text[2], "KVS_MUT("))
                fail_msg("%s: no bug is planted at: %s", path, text[1]);
        }
        for (const char *at = text[1]; n_planted && (at = strstr(at, "KVS_MUT(")); at++) {
            int id = atoi(at + 8); /* NOLINT(cert-err34-c): a wrong one is 0 */
            assert_in_range(id, 1, PLANTED_IDS - 1);
            n_planted[id]++;
        }
    }
    (void)fclose(file);
    return n;
}
