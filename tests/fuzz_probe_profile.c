/* Any text as a profile: its points are read or refused with a message, and what is read is
 * written. */
#include "probes/profile.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_points points = {0, 0, NULL};
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_doc *doc = NULL;
    enum kvs_code code = kvs_doc_parse("fuzz", (const char *)data, n_byte, &doc, &err);
    if (!code)
        code = kvs_profile_points(doc, &points, &err);
    if (code != err.code || (code && !err.msg[0]))
        abort();
    for (size_t i = 0; i < points.n && !code; i++)
        json_decref(kvs_point_json(points.v[i]));
    kvs_points_free(&points);
    kvs_doc_free(doc);
    return 0;
}
