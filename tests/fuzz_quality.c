/* Quality tables: whatever is read gives finite losses that a curve can be asked for, or is
 * refused. */
#include "model/quality.h"

#include <assert.h>
#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_doc *doc;
    struct kvs_quality *quality;
    struct kvs_err err = {0};

    if (kvs_doc_parse("fuzz.json", (const char *)data, n_byte, &doc, &err))
        return 0;
    if (kvs_quality_from(doc, 2, &quality, &err)) {
        assert(err.msg[0]);
        return 0;
    }
    for (uint32_t i = 0; i < quality->n_row; i++)
        for (int eighth = 0; eighth <= 8; eighth++) {
            double nats = kvs_quality_nats(quality, 1, i % 2, quality->row[i].level, eighth / 8.);

            assert(isfinite(nats) && nats >= 0);
        }
    for (uint32_t i = 0; i < quality->n_repair; i++)
        assert(kvs_quality_repair_nats(quality, quality->repair[i].method, .3) >= 0);
    kvs_quality_free(quality);
    return 0;
}
