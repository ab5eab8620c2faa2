#include "trace_stats.h"

#include "base/map.h"

#include <stdlib.h>
#include <string.h>

/* Keys with a dense index each, and how often each was seen. */
struct census {
    struct kvs_map index;
    uint64_t *count;
    size_t n, cap;
};

/* A block of the request at hand. */
struct look {
    uint32_t n_tok, part;
    uint32_t index; /* in the census; UINT32_MAX: no earlier request had it */
};

struct kvs_stats {
    struct kvs_stats_options options;
    struct kvs_stats_sums sums;
    struct census ids;
    struct kvs_map begins; /* hashes of all beginnings of prompts (content ids) */
    struct kvs_map sessions, lists, sets;
    struct kvs_tally *input, *output;
    uint64_t *key, *sorted; /* of the request at hand */
    struct look *look;
    size_t n_key, cap_key;
};

struct kvs_stats *kvs_stats_new(const struct kvs_stats_options *options)
{
    struct kvs_stats *stats = calloc(1, sizeof *stats);
    if (!stats)
        return NULL;
    stats->options = *options;
    if (!stats->options.part_mask)
        stats->options.part_mask = UINT32_MAX;
    stats->input = kvs_tally_new();
    stats->output = kvs_tally_new();
    if (!stats->input || !stats->output || !kvs_map_init(&stats->ids.index, 0) ||
        !kvs_map_init(&stats->begins, 0) || !kvs_map_init(&stats->sessions, 0) ||
        !kvs_map_init(&stats->lists, 0) || !kvs_map_init(&stats->sets, 0)) {
        kvs_stats_free(stats);
        return NULL;
    }
    return stats;
}

void kvs_stats_free(struct kvs_stats *stats)
{
    if (!stats)
        return;
    kvs_map_free(&stats->ids.index);
    kvs_map_free(&stats->begins);
    kvs_map_free(&stats->sessions);
    kvs_map_free(&stats->lists);
    kvs_map_free(&stats->sets);
    kvs_tally_free(stats->input);
    kvs_tally_free(stats->output);
    free(stats->ids.count);
    free(stats->key);
    free(stats->sorted);
    free(stats->look);
    free(stats);
}

struct kvs_tally *kvs_stats_input(struct kvs_stats *stats)
{
    return stats->input;
}

struct kvs_tally *kvs_stats_output(struct kvs_stats *stats)
{
    return stats->output;
}

const uint64_t *kvs_stats_keys(const struct kvs_stats *stats, size_t *n)
{
    *n = stats->n_key;
    return stats->key;
}

static enum kvs_code no_memory(struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_NOMEM, "trace stats: no memory");
}

/* A key that is new, or was when the request began. */
static bool census_add(struct census *census, uint64_t key)
{
    bool found;
    uint32_t *index;
    if (census->n == census->cap) {
        size_t cap = census->cap ? census->cap * 2 : 1024;
        uint64_t *count = realloc(census->count, cap * sizeof *count);
        if (!count)
            return false;
        census->count = count;
        census->cap = cap;
    }
    index = kvs_map_put(&census->index, key, (uint32_t)census->n, &found);
    if (!index)
        return false;
    if (!found)
        census->count[census->n++] = 0;
    census->count[*index]++;
    return true;
}

/* Adds key to a set; *found: it was there. false: no memory. */
static bool set_add(struct kvs_map *set, uint64_t key, bool *found)
{
    return kvs_map_put(set, key, 0, found) != NULL;
}

static bool keys_room(struct kvs_stats *stats, size_t n)
{
    uint64_t *key, *sorted;
    struct look *look;
    if (n <= stats->cap_key)
        return true;
    n += n / 2;
    if ((key = realloc(stats->key, n * sizeof *key)))
        stats->key = key;
    if ((sorted = realloc(stats->sorted, n * sizeof *sorted)))
        stats->sorted = sorted;
    if ((look = realloc(stats->look, n * sizeof *look)))
        stats->look = look;
    if (!key || !sorted || !look)
        return false;
    stats->cap_key = n;
    return true;
}

/* The request's blocks that the options leave in: key, look. */
static void take_blocks(struct kvs_stats *stats, const struct kvs_request *req)
{
    const struct kvs_stats_options *options = &stats->options;
    stats->n_key = 0;
    for (uint32_t i = 0; i < req->n_block; i++) {
        const struct kvs_trace_block *block = &req->block[i];
        if (!(options->part_mask & (1u << block->part)) ||
            (options->full_only && block->n_tok < options->block_tok))
            continue;
        stats->key[stats->n_key] =
            options->per_session ? kvs_chain(kvs_mix64(req->session), block->id) : block->id;
        stats->look[stats->n_key] = (struct look){.n_tok = block->n_tok, .part = block->part};
        kvs_map_prefetch(&stats->ids.index, stats->key[stats->n_key]);
        stats->n_key++;
    }
}

static void count_content(struct kvs_stats *stats)
{
    struct kvs_stats_sums *sums = &stats->sums;
    size_t n_known = 0;
    for (size_t i = 0; i < stats->n_key; i++) {
        struct look *look = &stats->look[i];
        struct kvs_stats_part *part = &sums->part[look->part];
        const uint32_t *index = kvs_map_find(&stats->ids.index, stats->key[i]);
        look->index = index ? *index : UINT32_MAX;
        part->n_access++;
        part->n_tok += look->n_tok;
        sums->access_tok += look->n_tok;
        if (!index)
            continue;
        n_known++;
        part->content_hits++;
        part->content_hit_tok += look->n_tok;
        sums->content_hit_tok += look->n_tok;
    }
    sums->n_access += stats->n_key;
    sums->content_hits += n_known;
    sums->with_blocks += stats->n_key > 0;
    sums->all_content += stats->n_key && n_known == stats->n_key;
}

/* How many leading blocks are prefix hits; remembers the request's beginnings. */
static bool leading(struct kvs_stats *stats, size_t *n_lead)
{
    uint64_t chain = 0;
    bool found, lead = true;
    *n_lead = 0;
    for (size_t i = 0; i < stats->n_key; i++) {
        if (stats->options.chained) {
            found = stats->look[i].index != UINT32_MAX;
        } else {
            chain = kvs_chain(chain, stats->key[i]);
            if (!set_add(&stats->begins, chain, &found))
                return false;
        }
        lead = lead && found;
        *n_lead += lead;
    }
    return true;
}

static void count_prefix(struct kvs_stats *stats, size_t n_lead)
{
    struct kvs_stats_sums *sums = &stats->sums;
    for (size_t i = 0; i < n_lead; i++)
        sums->prefix_hit_tok += stats->look[i].n_tok;
    sums->prefix_hits += n_lead;
    sums->any_hit += n_lead > 0;
    sums->all_prefix += n_lead && n_lead == stats->n_key;
}

static int cmp_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Chained ids often rise by themselves. */
static bool rises(const uint64_t *key, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (key[i - 1] > key[i])
            return false;
    return true;
}

static uint64_t list_hash(const uint64_t *key, size_t n)
{
    uint64_t chain = 0;
    for (size_t i = 0; i < n; i++)
        chain = kvs_chain(chain, key[i]);
    return chain;
}

static bool count_lists(struct kvs_stats *stats)
{
    size_t n = 0;
    bool found;
    if (!stats->n_key)
        return true;
    if (!set_add(&stats->lists, list_hash(stats->key, stats->n_key), &found))
        return false;
    stats->sums.n_list += !found;
    if (found)
        return true; /* then its set is known too */
    memcpy(stats->sorted, stats->key, stats->n_key * sizeof *stats->key);
    if (!rises(stats->sorted, stats->n_key))
        qsort(stats->sorted, stats->n_key, sizeof *stats->sorted, cmp_u64);
    for (size_t i = 0; i < stats->n_key; i++)
        if (!n || stats->sorted[n - 1] != stats->sorted[i])
            stats->sorted[n++] = stats->sorted[i];
    if (!set_add(&stats->sets, list_hash(stats->sorted, n), &found))
        return false;
    stats->sums.n_set += !found;
    return true;
}

static bool count_request(struct kvs_stats *stats, const struct kvs_request *req)
{
    struct kvs_stats_sums *sums = &stats->sums;
    bool found = true;
    if (!sums->n_request)
        sums->first_ns = req->arrive_ns;
    sums->last_ns = req->arrive_ns;
    sums->n_request++;
    if (req->session && !set_add(&stats->sessions, req->session, &found))
        return false;
    sums->n_session += !found;
    return kvs_tally_add(stats->input, req->input_tok) &&
           kvs_tally_add(stats->output, req->output_tok);
}

enum kvs_code kvs_stats_add(struct kvs_stats *stats, const struct kvs_request *req,
                            struct kvs_err *err)
{
    size_t n_lead;
    if (!keys_room(stats, req->n_block) || !count_request(stats, req))
        return no_memory(err);
    take_blocks(stats, req);
    count_content(stats);
    if (!leading(stats, &n_lead) || !count_lists(stats))
        return no_memory(err);
    count_prefix(stats, n_lead);
    for (size_t i = 0; i < stats->n_key; i++)
        if (stats->look[i].index != UINT32_MAX)
            stats->ids.count[stats->look[i].index]++;
        else if (!census_add(&stats->ids, stats->key[i]))
            return no_memory(err);
    return KVS_OK;
}

static int cmp_falling(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

static uint64_t sum_first(const uint64_t *count, size_t n_count, uint64_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n_count && i < n; i++)
        sum += count[i];
    return sum;
}

enum kvs_code kvs_stats_end(const struct kvs_stats *stats, struct kvs_stats_sums *sums,
                            struct kvs_err *err)
{
    const struct census *ids = &stats->ids;
    uint64_t *count = malloc(ids->n * sizeof *count + 1);
    *sums = stats->sums;
    if (!count)
        return no_memory(err);
    if (ids->n)
        memcpy(count, ids->count, ids->n * sizeof *count);
    qsort(count, ids->n, sizeof *count, cmp_falling);
    sums->n_unique = ids->n;
    sums->top_1pct = (ids->n + 99) / 100;
    sums->top_1pct_access = sum_first(count, ids->n, sums->top_1pct);
    sums->top_access = sum_first(count, ids->n, stats->options.n_top);
    for (size_t i = 0; i < ids->n; i++)
        sums->n_once += count[i] == 1;
    free(count);
    return KVS_OK;
}
