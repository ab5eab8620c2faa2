/* pack.c - sections of raw16, lx, fp8 and packed integers. */
#include "encode.h"
#include "gpu.h"
#include "half.h"

#include <stdlib.h>

bool kvs_escapes_add(struct kvs_escapes *escapes, uint32_t at)
{
    if (escapes->n == escapes->room) {
        uint32_t room = escapes->room ? escapes->room * 2 : 64;
        uint32_t *more = realloc(escapes->at, room * sizeof *more);
        if (!more)
            return false;
        escapes->at = more;
        escapes->room = room;
    }
    escapes->at[escapes->n++] = at;
    return true;
}

/* code of each exponent, 255: none; the 16 most frequent, ties to the smaller, in their order */
static void lx_codes(uint8_t code[256], uint8_t exponent[KVS_LX_CODES], const struct kvs_rows *rows)
{
    uint32_t count[256] = {0};
    bool chosen[256] = {false};

    for (size_t i = 0; i < (size_t)rows->n_tok * rows->n_chan; i++)
        count[rows->x[i] >> 7 & 0xff]++;
    for (int n = 0; n < KVS_LX_CODES; n++) {
        int best = -1;
        for (int e = 0; e < 256; e++)
            if (!chosen[e] && (best < 0 || count[e] > count[best]))
                best = e;
        chosen[best] = true;
    }
    memset(code, 255, 256);
    for (int e = 0, n = 0; e < 256; e++)
        if (chosen[e]) {
            code[e] = (uint8_t)n;
            exponent[n++] = (uint8_t)e;
        }
}

enum kvs_code kvs_pack_escapes(struct kvs_escapes *escapes, const struct kvs_rows *rows,
                               struct kvs_err *err)
{
    uint8_t code[256], exponent[KVS_LX_CODES];
    bool lx = rows->level == KVS_LX;

    if (rows->level == KVS_RAW16 || (!lx && rows->x == rows->calm))
        return KVS_OK;
    if (lx)
        lx_codes(code, exponent, rows);
    for (size_t i = 0; i < (size_t)rows->n_tok * rows->n_chan; i++)
        if (lx ? code[rows->x[i] >> 7 & 0xff] == 255
               : (rows->x[i] & 0x7fff) > kvs_half_huge(rows->half))
            if (!kvs_escapes_add(escapes, (uint32_t)i))
                return kvs_nomem(err);
    return KVS_OK;
}

size_t kvs_pack_scratch(const struct kvs_layout *at)
{
    return 3 * (size_t)kvs_up(at->n_param + at->n_chan, 64);
}

/* As kvs_pack_section, what follows too. */
static bool pack_fp8(uint16_t *step16, struct kvs_rows_job *job, const struct kvs_rows *rows,
                     uint32_t n_param, float *scratch, const struct kvs_kvf_isa *isa)
{
    uint32_t room = kvs_up(rows->n_chan, 64), wide = rows->n_chan / n_param;
    float *low = scratch, *high = low + room, *inverse = high + room;
    uint16_t low16[64];

    if (isa->range(low, high, job->x, job->stride, job->n_row, job->n_chan, job->half))
        return false;
    for (uint32_t c = 0; c < rows->n_chan; c++) { /* of a channel, or a head */
        float size = -low[c] > high[c] ? -low[c] : high[c];
        high[c / wide] = c % wide && high[c / wide] > size ? high[c / wide] : size;
    }
    memset(low, 0, room * sizeof *low);
    for (uint32_t p = 0; p < n_param; p += 64)
        isa->scales(low16, step16 + p, inverse + p, low + p, high + p,
                    n_param - p < 64 ? n_param - p : 64, 448, job->half);
    for (uint32_t c = rows->n_chan; c-- > 0;)
        low[c] = inverse[c / wide];
    job->low = job->step = low;
    isa->pack(job);
    return true;
}

static bool pack_integers(uint16_t *low16, uint16_t *step16, struct kvs_rows_job *job,
                          const struct kvs_layout *at, float *scratch,
                          const struct kvs_kvf_isa *isa)
{
    uint32_t n = at->n_param, room = kvs_up(n + at->n_chan, 64);
    float *low = scratch, *high = low + room, *inverse = high + room;
    float top = (float)((1 << kvs_level_bits(job->level)) - 1);
    uint32_t n_tok = job->n_row;

    job->low = low;
    job->step = inverse;
    if (job->by_token) {
        bool whole = at->n_chan % job->group == 0; /* rows lie side by side: all are one */
        for (uint32_t t = 0; t < (whole ? 1 : n_tok); t++)
            if (isa->range_row(low + t * at->n_group, high + t * at->n_group,
                               job->x + t * job->stride, whole ? n_tok * at->n_chan : at->n_chan,
                               job->group, job->half))
                return false;
        isa->scales(low16, step16, inverse, low, high, n, top, job->half);
        isa->pack(job);
        return true;
    }
    for (uint32_t g = 0; g < at->n_group; g++) {
        struct kvs_rows_job part = *job;
        part.n_row = n_tok - g * job->group < job->group ? n_tok - g * job->group : job->group;
        part.x += g * job->group * job->stride;
        part.packed += g * job->group * job->row_bytes;
        if (job->next)
            part.next += (size_t)g * job->group * job->n_chan;
        if (isa->range(low, high, part.x, job->stride, part.n_row, at->n_chan, job->half))
            return false;
        isa->scales(low16 + (size_t)g * at->n_chan, step16 + (size_t)g * at->n_chan, inverse, low,
                    high, at->n_chan, top, job->half);
        isa->pack(&part);
    }
    return true;
}

bool kvs_pack_section(uint8_t *section, const struct kvs_layout *at, const struct kvs_rows *rows,
                      uint32_t n_kv_head, float *scratch, const struct kvs_kvf_isa *isa)
{
    uint8_t code[256];
    uint16_t *param = (void *)(section + at->param_at);
    struct kvs_rows_job job = {
        .level = rows->level,
        .half = rows->half,
        .by_token = kvs_level_is_p(rows->level) && rows->kv == KVS_V,
        .n_row = at->n_tok,
        .n_chan = at->n_chan,
        .group = kvs_level_group(rows->level),
        .stride = at->n_chan,
        .row_bytes = kvs_row_bytes(rows->level, at->n_chan),
        .packed = section + at->payload_at,
        .x = (uint16_t *)(uintptr_t)rows->calm, /* read only when packing */
        .n_group = at->n_group,
        .next = rows->next,
    };

    if (at->n_tok == 0)
        return true;
    switch (rows->level) {
    case KVS_RAW16:
        memcpy(section + at->payload_at, rows->x, (size_t)at->n_tok * at->n_chan * 2);
        return true;
    case KVS_LX:
        lx_codes(code, section + at->param_at, rows);
        job.x = (uint16_t *)(uintptr_t)rows->x;
        job.exponent = code;
        isa->pack(&job);
        return true;
    case KVS_FP8:
        return pack_fp8(param, &job, rows, rows->kv == KVS_K ? at->n_chan : n_kv_head, scratch,
                        isa);
    default:
        return pack_integers(param, param + at->n_param, &job, at, scratch, isa);
    }
}

void kvs_kvq_plan(struct kvs_kvq_pack *job, const struct kvs_kvf_shape *shape, enum kvs_level level,
                  enum kvs_kv kv, uint32_t n_tok, uint32_t n_sink)
{
    job->at = kvs_layout(shape, level, kv, n_tok, n_sink, 0, 0);
    job->row_bytes = kvs_row_bytes(level, job->at.n_chan);
    job->group = kvs_level_group(level);
    job->bits = kvs_level_bits(level);
    job->huge = kvs_half_huge(shape->half);
    job->level = level;
    job->kv = kv;
    job->half = shape->half;
}
