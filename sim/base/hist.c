#include "hist.h"

#include "map.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Nearest rank, from 1. A product that should be whole, as 99.9 % of 1000, may come out a hair
 * above: the slack is far below one value in 10^12. */
static uint64_t rank_of(uint64_t n, double p)
{
    double rank = p * (double)n / 100;
    rank = ceil(rank - rank * 1e-15);
    if (!(rank >= 1))
        return 1;
    return rank < (double)n ? (uint64_t)rank : n;
}

struct count {
    uint64_t value, n;
};

struct kvs_tally {
    struct kvs_map place; /* value to its index in count */
    struct count *count;
    size_t n_count, room;
    uint64_t n, sum;
    bool sorted;
};

struct kvs_tally *kvs_tally_new(void)
{
    struct kvs_tally *tally = calloc(1, sizeof *tally);
    if (tally && !kvs_map_init(&tally->place, 0)) {
        free(tally);
        tally = NULL;
    }
    return tally;
}

void kvs_tally_free(struct kvs_tally *tally)
{
    if (!tally)
        return;
    kvs_map_free(&tally->place);
    free(tally->count);
    free(tally);
}

static bool room_for_one(struct kvs_tally *tally)
{
    if (tally->n_count < tally->room)
        return true;
    size_t room = tally->room ? tally->room * 2 : 64;
    struct count *count = room < UINT32_MAX ? realloc(tally->count, room * sizeof *count) : NULL;
    if (!count)
        return false;
    tally->count = count;
    tally->room = room;
    return true;
}

bool kvs_tally_add(struct kvs_tally *tally, uint64_t value)
{
    bool found;
    if (!room_for_one(tally))
        return false;
    uint32_t *place = kvs_map_put(&tally->place, value, (uint32_t)tally->n_count, &found);
    if (!place)
        return false;
    if (found) {
        tally->count[*place].n++;
    } else {
        tally->count[tally->n_count++] = (struct count){.value = value, .n = 1};
        tally->sorted = false;
    }
    tally->n++;
    if (__builtin_add_overflow(tally->sum, value, &tally->sum))
        tally->sum = UINT64_MAX;
    return true;
}

uint64_t kvs_tally_sum(const struct kvs_tally *tally)
{
    return tally->sum;
}

double kvs_tally_mean(const struct kvs_tally *tally)
{
    return tally->n ? (double)tally->sum / (double)tally->n : 0;
}

static int cmp_count(const void *a, const void *b)
{
    const struct count *x = a, *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

static void sort(struct kvs_tally *tally)
{
    if (tally->sorted || tally->n_count == 0)
        return;
    qsort(tally->count, tally->n_count, sizeof *tally->count, cmp_count);
    for (size_t i = 0; i < tally->n_count; i++)
        *kvs_map_find(&tally->place, tally->count[i].value) = (uint32_t)i;
    tally->sorted = true;
}

uint64_t kvs_tally_percentile(struct kvs_tally *tally, double p)
{
    if (tally->n == 0)
        return 0;
    sort(tally);
    uint64_t rank = rank_of(tally->n, p), below = 0;
    size_t i = 0;
    while (below + tally->count[i].n < rank)
        below += tally->count[i++].n;
    return tally->count[i].value;
}

uint64_t kvs_tally_min(struct kvs_tally *tally)
{
    sort(tally);
    return tally->n ? tally->count[0].value : 0;
}

uint64_t kvs_tally_max(struct kvs_tally *tally)
{
    sort(tally);
    return tally->n ? tally->count[tally->n_count - 1].value : 0;
}

double kvs_percentile(const double *sorted, size_t n, double p)
{
    return n ? sorted[rank_of(n, p) - 1] : (double)NAN;
}

int kvs_cmp_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double kvs_middle(double *values, size_t n)
{
    if (n == 0)
        return (double)NAN;
    qsort(values, n, sizeof *values, kvs_cmp_double);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/* Below 128 a bucket holds one value; above, the leading bit and the 7 after it name it. */
static unsigned bucket_of(uint64_t value)
{
    if (value < 128)
        return (unsigned)value;
    unsigned shift = 56 - (unsigned)__builtin_clzll(value);
    return (shift + 1) * 128 + (unsigned)(value >> shift & 127);
}

uint64_t kvs_hist_top(unsigned bucket)
{
    if (bucket < 128)
        return bucket;
    unsigned shift = bucket / 128 - 1;
    uint64_t low = (uint64_t)(128 + bucket % 128) << shift;
    return low + (((uint64_t)1 << shift) - 1);
}

void kvs_hist_init(struct kvs_hist *hist)
{
    memset(hist, 0, sizeof *hist);
    hist->min = UINT64_MAX;
}

void kvs_hist_add(struct kvs_hist *hist, uint64_t value)
{
    hist->n++;
    hist->sum += (double)value;
    hist->min = value < hist->min ? value : hist->min;
    hist->max = value > hist->max ? value : hist->max;
    hist->bucket[bucket_of(value)]++;
}

void kvs_hist_merge(struct kvs_hist *into, const struct kvs_hist *from)
{
    into->n += from->n;
    into->sum += from->sum;
    into->min = from->min < into->min ? from->min : into->min;
    into->max = from->max > into->max ? from->max : into->max;
    for (size_t i = 0; i < sizeof into->bucket / sizeof *into->bucket; i++)
        into->bucket[i] += from->bucket[i];
}

uint64_t kvs_hist_percentile(const struct kvs_hist *hist, double p)
{
    if (hist->n == 0)
        return 0;
    uint64_t rank = rank_of(hist->n, p), below = 0;
    unsigned i = 0;
    while (below + hist->bucket[i] < rank)
        below += hist->bucket[i++];
    return kvs_hist_top(i) < hist->max ? kvs_hist_top(i) : hist->max;
}
