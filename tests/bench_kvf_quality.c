/*
 * What levels do to SmolLM2-135M: the open questions of the codec's design, size at equal KL beside
 * LMCache's CacheGen rule and 4-bit groups, and allocation across layers. Text to test on and to
 * calibrate on differ. One JSON line a result; without the model (make models) it says so. An
 * argument picks a part: facts, tables, levels, others, allocate; the first two and others are what
 * runs without one, in a minute or two (allocate: some ten).
 */
#include "kernels/codec/half.h"
#include "kernels/codec/measure.h"
#include "kernels/codec/rans.h"
#include "kernels/codec/weigh.h"
#include "kv_lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256, SINK = 4, MAX_PART = 128, LONG = 4096 };

static void must(enum kvs_code code, const struct kvs_err *err)
{
    if (code) {
        fprintf(stderr, "bench: %s\n", err->msg);
        exit(1);
    }
}

/* Bits an element: all; without the padding to 4 KiB and raw sinks; all of a file of LONG tokens,
 * whose first block alone has sinks, the others as long as those here. What they do. */
struct outcome {
    double bits, lean_bits, long_bits;
    double coded_over_entropy; /* measure.h; 0 or NaN: nothing is entropy-coded */
    struct kv_score score;
};

struct setting {
    uint8_t level[MAX_PART];
    bool before_rope;
    uint32_t n_sink, block;
    const float *const *weight;
    int only; /* part whose K or V is changed; -1 all, -2 all K, -3 all V */
};

static bool changes(const struct setting *set, uint32_t part)
{
    return set->only == -1 || (set->only == -2 && part % 2 == 0) ||
           (set->only == -3 && part % 2 == 1) || set->only == (int)part;
}

/* Sections from `from` to `to` with their padding. */
static double padded_bytes(const struct kvs_kvf *kvf, uint32_t from, uint32_t to)
{
    double n = 0;
    for (uint32_t i = from; i < to; i++) {
        uint64_t page = (kvs_kvf_section(kvf, i).n_byte + 4095) / 4096;
        n += (double)page * 4096;
    }
    return n;
}

/* The head grows with its directory: 64 bytes a section. */
static double long_bytes(const struct kvs_kvf *kvf, size_t n_byte, uint32_t n_layer)
{
    uint32_t block = 2 * n_layer, n = kvs_kvf_n_section(kvf), more = LONG / LAB_PREFIX;
    double first = padded_bytes(kvf, 0, block), others = padded_bytes(kvf, block, n);
    double n_other = (double)n / block - 1;
    double head = (double)n_byte - first - others + (more - 1.) * n * 64;
    return n_other > 0 ? head + first + others / n_other * (more * (n_other + 1) - 1)
                       : (double)n_byte * more;
}

static struct outcome play(struct kv_lab *lab, const struct setting *set)
{
    const uint16_t *x[MAX_PART];
    uint16_t *y[MAX_PART] = {NULL};
    struct kvs_kvf_measure m = {0};
    struct kvs_kvf *kvf;
    struct kvs_err err = {0};
    uint8_t *file;
    size_t n, size = (size_t)LAB_PREFIX * lab->n_chan;
    for (uint32_t i = 0; i < lab->n_layer * 2; i++)
        x[i] = set->before_rope && i % 2 == 0 ? lab->before[i / 2] : lab->x[i];
    struct kvs_kvf_in in = {{.n_layer = lab->n_layer,
                             .n_kv_head = lab->n_chan / 64,
                             .head_dim = 64,
                             .n_tok = LAB_PREFIX,
                             .block_tok = set->block,
                             .n_sink = set->n_sink,
                             .half = KVS_HALF_BF16,
                             .before_rope = set->before_rope},
                            x,
                            set->level,
                            set->weight};
    must(kvs_kvf_encode(&in, kvs_kvf_isa(NULL), &file, &n, &err), &err);
    must(kvs_kvf_parse("bench", file, n, n, true, &kvf, &err), &err);
    struct outcome o = {0};
    must(kvs_kvf_sizes(kvf, kvs_kvf_isa(NULL), &m, &err), &err);
    o.coded_over_entropy = m.coded_over_entropy;
    for (uint32_t part = 0; part < lab->n_layer * 2; part++) {
        if (!changes(set, part))
            continue;
        y[part] = malloc(size * sizeof **y);
        for (uint32_t b = 0; b * set->block < LAB_PREFIX; b++)
            must(kvs_kvf_decode(kvf,
                                kvs_kvf_section_i(&in.shape, b, part / 2, (enum kvs_kv)(part % 2)),
                                NULL, kvs_kvf_isa(NULL),
                                y[part] + (size_t)b * set->block * lab->n_chan, lab->n_chan, &err),
                 &err);
    }
    double elements = (double)size * lab->n_layer * 2;
    o.bits = (double)n * 8 / elements;
    o.long_bits = long_bytes(kvf, n, lab->n_layer) * 8 / (elements * LONG / LAB_PREFIX);
    o.lean_bits = (double)(n - m.parts.padding - m.parts.sink) * 8 / elements;
    o.score = kv_lab_score(lab, y, set->before_rope);
    for (uint32_t part = 0; part < lab->n_layer * 2; part++)
        free(y[part]);
    kvs_kvf_close(kvf);
    free(file);
    return o;
}

static struct setting uniform(enum kvs_level level)
{
    struct setting set = {.n_sink = SINK, .block = BLOCK, .only = -1};
    memset(set.level, (int)level, sizeof set.level);
    return set;
}

static void line(const char *what, const char *level, const struct outcome *o)
{
    printf("{\"bench\": \"codec_quality\", \"what\": \"%s\", \"level\": \"%s\", \"bits\": %.4f, "
           "\"lean_bits\": %.4f, \"bits_of_%d_tokens\": %.4f, \"kl\": %.6g, \"kl_p99\": %.6g, "
           "\"d_nll\": %.4g, \"top1\": %.4f, \"first_other\": %u, \"coded_over_entropy\": ",
           what, level, o->bits, o->lean_bits, LONG, o->long_bits, o->score.kl, o->score.kl_p99,
           o->score.d_nll, o->score.top1, o->score.first);
    printf(o->coded_over_entropy > 0 ? "%.4f}\n" : "null}\n", o->coded_over_entropy);
    (void)fflush(stdout);
}

/* --- facts about the tensors -------------------------------------------------------------------
 */

static double at(const uint16_t *x, uint32_t n_chan, uint32_t t, uint32_t c)
{
    return (double)kvs_f32_of_bf16(x[(size_t)t * n_chan + c]);
}

static void facts_of(const struct kv_lab *lab, const char *name, int kind)
{
    double lag = 0, var = 0, mean2 = 0, delta = 0, worst = 0;
    uint32_t n = lab->n_chan;
    for (uint32_t l = 0; l < lab->n_layer; l++) {
        const uint16_t *x = kind == 0   ? lab->x[l * 2]
                            : kind == 1 ? lab->before[l]
                                        : lab->x[l * 2 + 1];
        for (uint32_t c = 0; c < n; c++) {
            double mean = 0, v = 0, cov = 0, anchor = 0;
            for (uint32_t t = SINK; t < LAB_PREFIX; t++)
                mean += at(x, n, t, c) / (LAB_PREFIX - SINK);
            for (uint32_t t = SINK; t < LAB_PREFIX; t++) {
                double d = at(x, n, t, c) - mean;
                v += d * d;
                if (t + 1 < LAB_PREFIX)
                    cov += d * (at(x, n, t + 1, c) - mean);
                double a = at(x, n, t, c) - at(x, n, SINK + (t - SINK) / 10 * 10, c);
                anchor += a * a * 10 / 9; /* a tenth are anchors themselves */
            }
            lag += v > 0 ? cov / v : 0;
            delta += v > 0 ? anchor / v : 0;
            mean2 += v > 0 ? mean * mean * (LAB_PREFIX - SINK) / v : 0;
            worst = fmax(worst, v > 0 ? cov / v : 0);
            var += 1;
        }
    }
    printf("{\"bench\": \"codec_quality\", \"what\": \"facts\", \"tensor\": \"%s\", "
           "\"lag1_correlation\": %.4f, \"largest\": %.4f, \"anchor10_delta_over_variance\": %.4f, "
           "\"mean2_over_variance\": %.4f}\n",
           name, lag / var, worst, delta / var, mean2 / var);
}

/* Entropy a symbol of e-level symbols: a table a channel (ideal), a layer, K and V each. */
static void tables(const struct kv_lab *lab)
{
    static const double steps[] = {.0625, .25, .5, 1, 1.5};
    for (int s = 0; s < 5; s++)
        for (int kv = 0; kv < 2; kv++) {
            static uint32_t all[256], layer[256], chan[256];
            static float none[256];
            double by_chan = 0, by_layer = 0, n_all = 0;
            memset(all, 0, sizeof all);
            for (uint32_t l = 0; l < lab->n_layer; l++) {
                memset(layer, 0, sizeof layer);
                for (uint32_t c = 0; c < lab->n_chan; c++) {
                    const uint16_t *x = lab->x[l * 2 + (uint32_t)kv];
                    memset(chan, 0, sizeof chan);
                    for (uint32_t b = 0; b < LAB_PREFIX; b += BLOCK) {
                        double mean = 0, v = 0;
                        uint32_t from = b ? b : SINK;
                        for (uint32_t t = from; t < b + BLOCK; t++)
                            mean += at(x, lab->n_chan, t, c) / (b + BLOCK - from);
                        for (uint32_t t = from; t < b + BLOCK; t++) {
                            double d = at(x, lab->n_chan, t, c) - mean;
                            v += d * d / (b + BLOCK - from);
                        }
                        for (uint32_t t = from; t < b + BLOCK; t++) {
                            double q =
                                v > 0
                                    ? rint((at(x, lab->n_chan, t, c) - mean) / (sqrt(v) * steps[s]))
                                    : 0;
                            int symbol = (int)fmax(1, fmin(255, q + 128));
                            all[symbol]++, layer[symbol]++, chan[symbol]++;
                        }
                    }
                    for (int i = 0; i < 256; i++)
                        by_chan -=
                            chan[i] ? chan[i] * log2((double)chan[i] / (LAB_PREFIX - SINK)) : 0;
                }
                double n = (double)(LAB_PREFIX - SINK) * lab->n_chan;
                for (int i = 0; i < 256; i++)
                    by_layer -= layer[i] ? layer[i] * log2(layer[i] / n) : 0;
                n_all += n;
            }
            double h = 0;
            for (int i = 0; i < 256; i++)
                h -= all[i] ? all[i] / n_all * log2(all[i] / n_all) : 0;
            struct kvs_rans_model model;
            kvs_rans_fit(&model, all, none);
            printf("{\"bench\": \"codec_quality\", \"what\": \"tables\", \"tensor\": \"%c\", "
                   "\"step\": %g, \"entropy_by_channel\": %.4f, \"entropy_by_layer\": %.4f, "
                   "\"entropy_shared\": %.4f, \"coded_shared\": %.4f}\n",
                   kv ? 'V' : 'K', steps[s], by_chan / n_all, by_layer / n_all, h,
                   kvs_rans_cost(&model, all));
        }
}

/* --- others' rules -----------------------------------------------------------------------------
 */

/* LMCache's CacheGen serde: x -> round(x / max * (bins / 2 - 1)), max over all channels of a token;
 * a CDF of 33 16-bit numbers a channel and chunk; payload: the ideal code length. */
static struct outcome cachegen(struct kv_lab *lab, uint32_t chunk)
{
    struct outcome o = {0};
    uint16_t *y[MAX_PART];
    uint32_t n = lab->n_chan;
    uint32_t n_length = (chunk + 255) / 256;
    double bits = 0, elements = (double)LAB_PREFIX * n * lab->n_layer * 2;
    for (uint32_t part = 0; part < lab->n_layer * 2; part++) {
        int bins = part / 2 < (part % 2 ? 2u : 10u) ? 32 : 16, top = bins / 2 - 1;
        int8_t *q = malloc((size_t)LAB_PREFIX * n);
        y[part] = malloc((size_t)LAB_PREFIX * n * sizeof **y);
        for (uint32_t t = 0; t < LAB_PREFIX; t++) {
            double most = 0;
            for (uint32_t c = 0; c < n; c++)
                most = fmax(most, fabs(at(lab->x[part], n, t, c)));
            for (uint32_t c = 0; c < n; c++) {
                double r = most > 0 ? rint(at(lab->x[part], n, t, c) / most * top) : 0;
                q[(size_t)t * n + c] = (int8_t)r;
                y[part][(size_t)t * n + c] = kvs_bf16_of((float)(r * most / top));
            }
        }
        bits += LAB_PREFIX * 16.; /* the maxima */
        for (uint32_t from = 0; from < LAB_PREFIX; from += chunk)
            for (uint32_t c = 0; c < n; c++) {
                uint32_t count[64] = {0};
                for (uint32_t t = from; t < from + chunk; t++)
                    count[q[(size_t)t * n + c] + 32]++;
                for (int s = 0; s < 64; s++)
                    bits -= count[s] ? count[s] * log2((double)count[s] / chunk) : 0;
                bits += 33 * 16 + 32 * n_length; /* CDF; a length for 256 tokens */
            }
        free(q);
    }
    o.bits = o.lean_bits = o.long_bits = bits / elements;
    o.score = kv_lab_score(lab, y, false);
    for (uint32_t part = 0; part < lab->n_layer * 2; part++)
        free(y[part]);
    return o;
}

enum counted { ALL, LEAN, OF_LONG };
static double counted(const struct outcome *o, enum counted which)
{
    return which == ALL ? o->bits : which == LEAN ? o->lean_bits : o->long_bits;
}

/* Bits at a KL, between the two e-levels around it: linear in log KL. */
static double bits_at(const struct outcome *o, int n, double kl, enum counted which)
{
    for (int i = 0; i + 1 < n; i++)
        if (o[i].score.kl <= kl && kl <= o[i + 1].score.kl) {
            double w = log(kl / o[i].score.kl) / log(o[i + 1].score.kl / o[i].score.kl);
            double a = counted(&o[i], which), b = counted(&o[i + 1], which);
            return a + w * (b - a);
        }
    return (double)NAN;
}

static void equal_kl(const char *what, const struct outcome *other, const struct outcome *ours,
                     int n)
{
    double lean = bits_at(ours, n, other->score.kl, LEAN),
           all = bits_at(ours, n, other->score.kl, ALL),
           of_long = bits_at(ours, n, other->score.kl, OF_LONG);
    if (isnan(lean)) /* beyond the last of our sizes */
        return;
    printf("{\"bench\": \"codec_quality\", \"what\": \"equal KL: %s\", \"kl\": %.6g, "
           "\"their_bits\": %.4f, \"our_lean_bits\": %.4f, \"our_bits\": %.4f, "
           "\"times_smaller_lean\": %.4f, \"bits_below_lean\": %.4f, \"our_bits_of_%d_tokens\": "
           "%.4f, \"times_smaller_of_%d_tokens\": %.4f}\n",
           what, other->score.kl, other->lean_bits, lean, all, other->lean_bits / lean,
           other->lean_bits - lean, LONG, of_long, LONG, other->long_bits / of_long);
    (void)fflush(stdout);
}

/* --- allocation --------------------------------------------------------------------------------
 */

static const enum kvs_level menu[] = {KVS_E5, KVS_E4, KVS_E3, KVS_E2_5, KVS_E2, KVS_E1_5};
enum { N_MENU = sizeof menu / sizeof menu[0] };

struct damage {
    double kl[MAX_PART][N_MENU];
};

/* KL of each tensor at each level alone, on the text to calibrate on. A line each. */
static void damages(struct kv_lab *lab, struct damage *d, const float *const *weight)
{
    for (uint32_t part = 0; part < lab->n_layer * 2; part++)
        for (int m = 1; m < N_MENU; m++) {
            struct setting set = uniform(menu[m]);
            set.weight = weight;
            set.only = (int)part;
            memset(set.level, KVS_RAW16, sizeof set.level);
            set.level[part] = (uint8_t)menu[m];
            struct outcome o = play(lab, &set);
            d->kl[part][m] = fmax(o.score.kl, 1e-9);
            printf("{\"bench\": \"codec_quality\", \"what\": \"single\", \"layer\": %u, "
                   "\"tensor\": \"%c\", \"level\": \"%s\", \"kl\": %.6g}\n",
                   part / 2, part % 2 ? 'V' : 'K', kvs_level_names[menu[m]], o.score.kl);
            (void)fflush(stdout);
        }
    for (uint32_t part = 0; part < lab->n_layer * 2; part++)
        d->kl[part][0] = d->kl[part][1] / 4; /* half the step: a fourth of the squared error */
}

static const double nominal[] = {5.1, 4.1, 3.12, 2.56, 2.16, 1.65};

/* Least sum of KL under a mean of bits: Lagrangian sweep, the largest lambda that fits. */
static void allocate(const struct damage *d, uint32_t n_part, double bits, uint8_t *level)
{
    double low = 1e-12, high = 1e3;
    for (int step = 0; step < 80; step++) {
        double lambda = sqrt(low * high), sum = 0;
        for (uint32_t p = 0; p < n_part; p++) {
            int best = 0;
            for (int m = 1; m < N_MENU; m++)
                if (d->kl[p][m] + lambda * nominal[m] < d->kl[p][best] + lambda * nominal[best])
                    best = m;
            sum += nominal[best] / n_part;
        }
        if (sum > bits)
            low = lambda;
        else
            high = lambda;
    }
    for (uint32_t p = 0; p < n_part; p++) {
        int best = 0;
        for (int m = 1; m < N_MENU; m++)
            if (d->kl[p][m] + high * nominal[m] < d->kl[p][best] + high * nominal[best])
                best = m;
        level[p] = (uint8_t)menu[best];
    }
}

static double sum_of(const struct damage *d, uint32_t n_part, const uint8_t *level)
{
    double sum = 0;
    for (uint32_t p = 0; p < n_part; p++)
        for (int m = 0; m < N_MENU; m++)
            sum += level[p] == menu[m] ? d->kl[p][m] : 0;
    return sum;
}

int main(int argc, char **argv)
{
    static const enum kvs_level all[] = {KVS_RAW16, KVS_FP8, KVS_P8,  KVS_P4, KVS_P3,
                                         KVS_P2,    KVS_E6,  KVS_E5,  KVS_E4, KVS_E3,
                                         KVS_E2_5,  KVS_E2,  KVS_E1_5};
    const char *part = argc > 1 ? argv[1] : "facts tables others";
    static struct kv_lab lab, calibration;
    struct outcome e[7], w[7], p4 = {0}, o;
    int n_e = 0;
    if (!kv_lab_open(&lab, 0)) {
        fprintf(stderr, "# skip: no model (make models) or no tests/data/smollm2_text.txt\n");
        return 0;
    }
    struct kvs_err err = {0};
    const float **weight;
    must(kvs_kvf_weigh(lab.weights, &weight, &err), &err);
    printf("{\"bench\": \"codec_quality\", \"what\": \"reference\", \"nll\": %.4f, \"prefix\": %d, "
           "\"next\": %d}\n",
           lab.nll, LAB_PREFIX, LAB_NEXT);
    if (strstr(part, "facts")) {
        facts_of(&lab, "K after RoPE", 0);
        facts_of(&lab, "K before RoPE", 1);
        facts_of(&lab, "V", 2);
    }
    if (strstr(part, "tables"))
        tables(&lab);
    if (strstr(part, "levels") || strstr(part, "others") || strstr(part, "allocate"))
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            struct setting set = uniform(all[i]);
            o = play(&lab, &set);
            line("uniform", kvs_level_names[all[i]], &o);
            if (all[i] == KVS_P4)
                p4 = o;
            if (kvs_level_is_e(all[i]) && n_e < 7) {
                e[n_e] = o;
                set.weight = weight;
                w[n_e] = play(&lab, &set);
                line("uniform, weighted steps", kvs_level_names[all[i]], &w[n_e++]);
            }
        }
    if (strstr(part, "levels"))
        for (int i = 0; i < 3; i++) {
            static const enum kvs_level some[] = {KVS_E4, KVS_E3, KVS_E2};
            struct setting set = uniform(some[i]);
            set.before_rope = true;
            o = play(&lab, &set);
            line("before RoPE", kvs_level_names[some[i]], &o);
            set.weight = weight;
            o = play(&lab, &set);
            line("before RoPE, weighted steps", kvs_level_names[some[i]], &o);
            set = uniform(some[i]);
            set.n_sink = 0;
            o = play(&lab, &set);
            line("no sinks", kvs_level_names[some[i]], &o);
            set = uniform(some[i]);
            set.only = -2;
            o = play(&lab, &set);
            line("K only", kvs_level_names[some[i]], &o);
            set.only = -3;
            o = play(&lab, &set);
            line("V only", kvs_level_names[some[i]], &o);
            set = uniform(some[i]);
            set.block = LAB_PREFIX;
            o = play(&lab, &set);
            line("one block of 1024", kvs_level_names[some[i]], &o);
        }
    if (strstr(part, "others")) {
        o = cachegen(&lab, BLOCK);
        line("LMCache CacheGen, 256-token chunks", "level 2", &o);
        equal_kl("LMCache CacheGen, 256-token chunks", &o, e, n_e);
        equal_kl("LMCache CacheGen, 256-token chunks; weighted", &o, w, n_e);
        equal_kl("4-bit groups (p4)", &p4, e, n_e);
        equal_kl("4-bit groups (p4); weighted", &p4, w, n_e);
    }
    if (strstr(part, "allocate") && kv_lab_open(&calibration, 1)) {
        static struct damage d;
        damages(&calibration, &d, weight);
        static const double goals[] = {4.5, 4.0, 3.5, 3.12, 2.8, 2.56, 2.3, 2.16, 1.9};
        struct outcome a[9];
        for (int i = 0; i < 9; i++) {
            struct setting set = uniform(KVS_E3);
            set.weight = weight;
            allocate(&d, lab.n_layer * 2, goals[i], set.level);
            a[i] = play(&lab, &set);
            line("allocated", "mixed", &a[i]);
            double sum = sum_of(&d, lab.n_layer * 2, set.level);
            struct outcome c = play(&calibration, &set);
            printf("{\"bench\": \"codec_quality\", \"what\": \"additivity\", \"bits\": %.4f, "
                   "\"sum_of_singles\": %.6g, \"joint_on_calibration_text\": %.6g, "
                   "\"joint_over_sum\": %.4f}\n",
                   c.lean_bits, sum, c.score.kl, c.score.kl / sum);
            double same = bits_at(e, n_e, a[i].score.kl, LEAN);
            printf("{\"bench\": \"codec_quality\", \"what\": \"allocated beside uniform\", \"kl\": "
                   "%.6g, \"bits\": %.4f, \"uniform_bits_at_this_kl\": %.4f}\n",
                   a[i].score.kl, a[i].lean_bits, same);
        }
        equal_kl("4-bit groups (p4); allocated", &p4, a, 9);
        o = cachegen(&lab, BLOCK);
        equal_kl("LMCache CacheGen, 256-token chunks; allocated", &o, a, 9);
        kv_lab_close(&calibration);
    }
    free(weight);
    kv_lab_close(&lab);
    return 0;
}
