/* Any text as a report of fio, perftest, nixlbench or nvbandwidth: points with rates above 0, or a
 * message. */
#include "probes/import.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_points points = {0, 0, NULL};
    struct kvs_err err = {KVS_OK, ""};
    enum kvs_code code = kvs_import("fuzz", (const char *)data, n_byte, &points, &err);
    if (code != err.code || (code && !err.msg[0]))
        abort();
    for (size_t i = 0; i < points.n && !code; i++)
        if (!(points.v[i]->rate.median > 0))
            abort();
    kvs_points_free(&points);
    return 0;
}
