#include "measure.h"

#include "base/hist.h"
#include "format.h"
#include "half.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static size_t part_elements(const struct kvs_kvf_shape *shape)
{
    return (size_t)shape->n_tok * kvs_kvf_n_chan(shape);
}

static enum kvs_code decode_part(const struct kvs_kvf *codec, uint32_t layer, enum kvs_kv kv,
                                 const struct kvs_kvf_isa *isa, uint16_t *out, struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = kvs_kvf_shape(codec);
    uint32_t n_chan = kvs_kvf_n_chan(shape);
    enum kvs_code code = KVS_OK;

    for (uint32_t b = 0; b < kvs_kvf_n_block(codec) && !code; b++)
        code = kvs_kvf_decode(codec, kvs_kvf_section_i(shape, b, layer, kv), NULL, isa,
                              out + (size_t)b * shape->block_tok * n_chan, n_chan, err);
    return code;
}

/* One K or V: as it was, as decoded, and the steps between. */
struct part {
    const uint16_t *x;
    uint16_t *y;
    float *step;
    const float *weight; /* or NULL */
};

struct sums {
    double square, error, weighted_error, weighted_var, max_abs, max_step;
    double *snr; /* of each channel that has one; of all parts one after another */
    size_t n_snr;
    uint64_t n_odd;
};

static void add_part(struct sums *sums, const struct part *p, const struct kvs_kvf_shape *shape)
{
    uint32_t n_chan = kvs_kvf_n_chan(shape);

    for (uint32_t c = 0; c < n_chan; c++) {
        double sum = 0, square = 0, wrong = 0, n = 0;
        for (uint32_t t = shape->n_sink; t < shape->n_tok; t++) {
            size_t at = (size_t)t * n_chan + c;
            double v = (double)kvs_f32_of_half(p->x[at], shape->half);
            double off = fabs(v - (double)kvs_f32_of_half(p->y[at], shape->half));
            if (!isfinite(v) || !isfinite(off)) { /* is wanted back as it is */
                sums->n_odd += p->x[at] != p->y[at];
                continue;
            }
            n++;
            sum += v;
            square += v * v;
            wrong += off * off;
            sums->max_abs = fmax(sums->max_abs, off);
            if (p->step[at] > 0)
                sums->max_step = fmax(sums->max_step, off / (double)p->step[at]);
        }
        double var = fmax(square - sum * sum / fmax(n, 1), 0),
               w = p->weight ? (double)p->weight[c] : 1;
        sums->square += square;
        sums->error += wrong;
        sums->weighted_error += w * wrong;
        sums->weighted_var += w * var;
        /* exact ones count as 120 dB; constant ones that are not exact have no variance to tell */
        if (!(wrong > 0))
            sums->snr[sums->n_snr++] = 120;
        else if (var > square * 1e-12) /* more than the sums' own rounding */
            sums->snr[sums->n_snr++] = fmin(120, 10 * log10(var / wrong));
    }
}

static void add_sums(struct sums *to, const struct sums *from)
{
    to->square += from->square;
    to->error += from->error;
    to->weighted_error += from->weighted_error;
    to->weighted_var += from->weighted_var;
    to->max_abs = fmax(to->max_abs, from->max_abs);
    to->max_step = fmax(to->max_step, from->max_step); /* NaN counts as none */
    to->n_snr += from->n_snr;
    to->n_odd += from->n_odd;
}

static struct kvs_kvf_error settle(const struct sums *sums)
{
    double sum = 0;

    qsort(sums->snr, sums->n_snr, sizeof *sums->snr, kvs_cmp_double);
    for (size_t i = 0; i < sums->n_snr; i++)
        sum += sums->snr[i];
    return (struct kvs_kvf_error){
        .max_abs = sums->max_abs,
        .max_step = sums->max_step,
        .rel_l2 = sums->square > 0 ? sqrt(sums->error / sums->square) : 0,
        .snr_db = sums->n_snr ? sum / (double)sums->n_snr : (double)NAN,
        .snr_db_p5 = sums->n_snr ? sums->snr[sums->n_snr / 20] : (double)NAN,
        .n_odd = sums->n_odd,
        .weighted_rel_mse = sums->weighted_var > 0 ? sums->weighted_error / sums->weighted_var : 0,
    };
}

/* All but padding. */
static uint64_t lean_bytes(const struct kvs_kvf_parts *p)
{
    return p->payload + p->sink + p->param + p->stream + p->escape + p->table + p->head;
}

enum kvs_code kvs_kvf_sizes(const struct kvs_kvf *codec, const struct kvs_kvf_isa *isa,
                            struct kvs_kvf_measure *measure, struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = kvs_kvf_shape(codec);
    struct kvs_kvf_parts *p = &measure->parts, coded = {0};
    double n = (double)part_elements(shape) * shape->n_layer * 2, entropy = 0, bits;
    enum kvs_code code = KVS_OK;

    *p = (struct kvs_kvf_parts){0};
    kvs_kvf_head_parts(codec, p);
    measure->kv_bits[0] = measure->kv_bits[1] = 0;
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec) && !code; i++) {
        uint64_t before = lean_bytes(p);
        code = kvs_kvf_section_parts(codec, i, NULL, p, err);
        measure->kv_bits[kvs_kvf_section(codec, i).kv] +=
            (double)(lean_bytes(p) - before) * 8 / (n / 2);
        if (!code && kvs_level_is_e(kvs_kvf_section(codec, i).level)) {
            code = kvs_kvf_section_parts(codec, i, NULL, &coded, err);
            if (!code)
                code = kvs_kvf_entropy(codec, i, NULL, isa, &bits, err);
            entropy += code ? 0 : bits;
        }
    }
    measure->payload_bits = (double)p->payload * 8 / n;
    measure->padding_bits = (double)p->padding * 8 / n;
    measure->bits_per_element = (double)(lean_bytes(p) + p->padding) * 8 / n;
    measure->coded_over_entropy = entropy > 0 ? (double)coded.payload * 8 / entropy : (double)NAN;
    return code;
}

/* Elements and steps of a part, all blocks. */
static enum kvs_code read_part(const struct kvs_kvf *codec, uint32_t part_i,
                               const struct kvs_kvf_isa *isa, struct part *part,
                               struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = kvs_kvf_shape(codec);
    enum kvs_kv kv = (enum kvs_kv)(part_i % 2);
    enum kvs_code code = decode_part(codec, part_i / 2, kv, isa, part->y, err);

    for (uint32_t b = 0; b < kvs_kvf_n_block(codec) && !code; b++)
        code =
            kvs_kvf_steps(codec, kvs_kvf_section_i(shape, b, part_i / 2, kv), NULL,
                          part->step + (size_t)b * shape->block_tok * kvs_kvf_n_chan(shape), err);
    return code;
}

enum kvs_code kvs_kvf_compare(const struct kvs_kvf *codec, const struct kvs_kvf_in *in,
                              const struct kvs_kvf_isa *isa, struct kvs_kvf_measure *measure,
                              struct kvs_kvf_error *error, struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = &in->shape;
    size_t n = part_elements(shape), n_chan = kvs_kvf_n_chan(shape);
    double *snr = malloc(2 * shape->n_layer * n_chan * sizeof *snr);
    struct part part = {.y = malloc(n * sizeof *part.y), .step = malloc(n * sizeof *part.step)};
    enum kvs_code code =
        part.y && part.step && snr ? kvs_kvf_sizes(codec, isa, measure, err) : kvs_nomem(err);
    assert(code || (part.y && part.step && snr));

    for (uint32_t kv = 0; kv < 2 && !code; kv++) {
        struct sums all = {.snr = snr + kv * shape->n_layer * n_chan, .max_step = (double)NAN};
        for (uint32_t l = 0; l < shape->n_layer && !code; l++) {
            uint32_t i = l * 2 + kv;
            struct sums sums = {.snr = all.snr + all.n_snr, .max_step = (double)NAN};
            part.x = in->x[i];
            part.weight = in->weight ? in->weight[i] : NULL;
            code = read_part(codec, i, isa, &part, err);
            if (code)
                break;
            add_part(&sums, &part, shape);
            add_sums(&all, &sums);
            if (error)
                error[i] = settle(&sums);
        }
        if (!code)
            measure->error[kv] = settle(&all);
    }
    free(part.y);
    free(part.step);
    free(snr);
    return code;
}

static double cpu_s(void) /* of this thread: others on the machine disturb least so */
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A section to where it was, of all elements [part][n_tok][n_chan]. */
static enum kvs_code decode_in_place(const struct kvs_kvf *codec, uint32_t i,
                                     const struct kvs_kvf_isa *isa, uint16_t *out,
                                     struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = kvs_kvf_shape(codec);
    struct kvs_section at = kvs_kvf_section(codec, i);
    uint32_t n_chan = kvs_kvf_n_chan(shape);

    out += (2 * at.layer + at.kv) * part_elements(shape) + (size_t)at.first_tok * n_chan;
    return kvs_kvf_decode(codec, i, NULL, isa, out, n_chan, err);
}

enum kvs_code kvs_kvf_rates(const struct kvs_kvf_in *in, uint32_t n, unsigned rounds,
                            const struct kvs_kvf_isa *isa, struct kvs_kvf_measure *measure,
                            double *memcpy_gb_per_s, struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = &in[0].shape;
    size_t part = part_elements(shape), all = part * shape->n_layer * 2;
    const size_t huge = 2 << 20, n_out = (all * sizeof(uint16_t) + huge - 1) / huge * huge;
    uint16_t *out = aligned_alloc(huge, n_out);
    double *s = malloc(((size_t)n * 2 + 1) * rounds * sizeof *s), gb = (double)all * 2e-9;
    struct kvs_kvf_memory memory = {0}; /* as stores encode block after block */
    enum kvs_code code = KVS_OK;

    if (!out || !s) {
        (void)kvs_nomem(err);
        code = KVS_ERR_NOMEM;
    } else {
        (void)madvise(out, n_out,
                      MADV_HUGEPAGE); /* as buffers for loads are, where there are some */
        memset(out, 1, n_out);        /* touched */
    }
    for (unsigned r = 0; r < rounds && !code; r++) {
        double from = cpu_s();
        for (uint32_t i = 0; i < shape->n_layer * 2; i++)
            memcpy(out + i * part, in[0].x[i], part * sizeof *out);
        s[(size_t)n * 2 * rounds + r] = cpu_s() - from;
        for (uint32_t k = 0; k < n && !code; k++) {
            struct kvs_kvf *codec = NULL;
            uint8_t *file;
            size_t n_byte;
            from = cpu_s();
            code = kvs_kvf_encode_into(&memory, &in[k], isa, &file, &n_byte, err);
            s[(size_t)k * rounds + r] = cpu_s() - from;
            if (!code)
                code = kvs_kvf_parse("bench", file, n_byte, n_byte, true, &codec, err);
            from = cpu_s();
            for (uint32_t i = 0; !code && i < kvs_kvf_n_section(codec); i++)
                code = decode_in_place(codec, i, isa, out, err);
            s[((size_t)n + k) * rounds + r] = cpu_s() - from;
            kvs_kvf_close(codec);
        }
    }
    for (uint32_t k = 0; k < n && !code; k++) {
        measure[k].encode_gb_per_s = gb / kvs_middle(s + (size_t)k * rounds, rounds);
        measure[k].decode_gb_per_s = gb / kvs_middle(s + ((size_t)n + k) * rounds, rounds);
    }
    if (!code)
        *memcpy_gb_per_s = gb / kvs_middle(s + (size_t)n * 2 * rounds, rounds);
    kvs_kvf_memory_free(&memory);
    free(out);
    free(s);
    return code;
}
