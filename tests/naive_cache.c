#include "naive_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    uint64_t key, n_bytes, next_use;
    uint64_t came, used; /* times, by count of accesses */
    uint64_t n_use;
    double s_per_byte, weight;
    bool in_main;
    bool seen; /* sieve's mark */
    int round; /* s3fifo's count */
};

/* What pgdsf remembers of an evicted block. */
struct past {
    uint64_t key, n_use, n_miss;
    double s_per_byte;
};

struct naive_cache {
    const char *policy;
    uint64_t capacity, used_bytes, time;
    struct entry *entry; /* in order of insertion; s3fifo: both queues, each in its order */
    size_t n;
    struct past *ghost; /* oldest first */
    size_t n_ghost;
    struct past *known; /* pgdsf: of resident blocks */
    size_t n_known;
    uint64_t hand; /* sieve: the key to look at next */
    bool has_hand, has_evicted;
    double clock;
};

struct naive_cache *naive_new(const char *policy, uint64_t capacity_bytes)
{
    static const char *const names[] = {"lru",  "fifo",  "s3fifo",   "lfu",  "sieve",
                                        "gdsf", "pgdsf", "pensieve", "cost", "belady"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(policy, names[i]) == 0) {
            struct naive_cache *cache = calloc(1, sizeof *cache);
            cache->policy = names[i];
            cache->capacity = capacity_bytes;
            return cache;
        }
    return NULL;
}

void naive_free(struct naive_cache *cache)
{
    free(cache->entry);
    free(cache->ghost);
    free(cache->known);
    free(cache);
}

static bool is(const struct naive_cache *cache, const char *policy)
{
    return strcmp(cache->policy, policy) == 0;
}

static size_t find(const struct naive_cache *cache, uint64_t key)
{
    size_t i = 0;
    while (i < cache->n && cache->entry[i].key != key)
        i++;
    return i;
}

static struct entry cut(struct naive_cache *cache, size_t i)
{
    assert(i < cache->n);
    struct entry entry = cache->entry[i];
    memmove(cache->entry + i, cache->entry + i + 1, (cache->n - i - 1) * sizeof entry);
    cache->n--;
    return entry;
}

static void append(struct naive_cache *cache, struct entry entry)
{
    cache->entry = realloc(cache->entry, (cache->n + 1) * sizeof entry);
    cache->entry[cache->n++] = entry;
}

/* The past of key, taken out of list; zero if it has none. */
static struct past recall(struct past *list, size_t *n, uint64_t key, bool *found)
{
    struct past past = {.key = key};
    *found = false;
    for (size_t i = 0; i < *n; i++)
        if (list[i].key == key) {
            past = list[i];
            memmove(list + i, list + i + 1, (*n - i - 1) * sizeof past);
            --*n;
            *found = true;
            break;
        }
    return past;
}

static void remember(struct naive_cache *cache, struct past past, size_t limit)
{
    while (cache->n_ghost > 0 && cache->n_ghost >= limit) {
        memmove(cache->ghost, cache->ghost + 1, (cache->n_ghost - 1) * sizeof past);
        cache->n_ghost--;
    }
    if (limit == 0)
        return;
    cache->ghost = realloc(cache->ghost, (cache->n_ghost + 1) * sizeof past);
    cache->ghost[cache->n_ghost++] = past;
}

/* --- who leaves: true if a should leave before b ---------------------------------------------- */

static double pensieve_value(const struct naive_cache *cache, const struct entry *e)
{
    return e->s_per_byte / ((double)(cache->time - e->used) + 1);
}

static bool leaves_before(const struct naive_cache *cache, const struct entry *a,
                          const struct entry *b)
{
    if (is(cache, "fifo"))
        return a->came < b->came;
    if (is(cache, "lfu") && a->n_use != b->n_use)
        return a->n_use < b->n_use;
    if (is(cache, "belady") && a->next_use != b->next_use)
        return a->next_use > b->next_use;
    if (is(cache, "pensieve") && pensieve_value(cache, a) != pensieve_value(cache, b))
        return pensieve_value(cache, a) < pensieve_value(cache, b);
    if ((is(cache, "gdsf") || is(cache, "pgdsf") || is(cache, "cost")) && a->weight != b->weight)
        return a->weight < b->weight;
    return a->used < b->used;
}

static size_t ranked_victim(const struct naive_cache *cache)
{
    size_t victim = 0;
    for (size_t i = 1; i < cache->n; i++)
        if (leaves_before(cache, &cache->entry[i], &cache->entry[victim]))
            victim = i;
    return victim;
}

/* entry[] is in order of insertion; the hand goes from old to young. */
static size_t sieve_victim(struct naive_cache *cache)
{
    size_t at = cache->has_hand ? find(cache, cache->hand) : 0;
    while (cache->entry[at].seen) {
        cache->entry[at].seen = false;
        at = (at + 1) % cache->n;
    }
    cache->has_hand = at + 1 < cache->n;
    if (cache->has_hand)
        cache->hand = cache->entry[at + 1].key;
    return at;
}

static size_t oldest_of(const struct naive_cache *cache, bool in_main)
{
    size_t i = 0;
    while (i < cache->n && cache->entry[i].in_main != in_main)
        i++;
    return i;
}

static uint64_t bytes_of(const struct naive_cache *cache, bool in_main)
{
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < cache->n; i++)
        if (cache->entry[i].in_main == in_main)
            n_bytes += cache->entry[i].n_bytes;
    return n_bytes;
}

/* The place of the small queue's victim; cache->n if all of it went on to the main queue. */
static size_t small_victim(struct naive_cache *cache)
{
    size_t i;
    while ((i = oldest_of(cache, false)) < cache->n && cache->entry[i].round >= 2) {
        struct entry proven = cut(cache, i);
        proven.round = 0;
        proven.in_main = true;
        append(cache, proven);
    }
    return i;
}

static size_t main_victim(struct naive_cache *cache)
{
    size_t i;
    while (cache->entry[i = oldest_of(cache, true)].round > 0) {
        struct entry again = cut(cache, i);
        again.round = (again.round > 3 ? 3 : again.round) - 1;
        append(cache, again);
    }
    return i;
}

static size_t s3fifo_victim(struct naive_cache *cache)
{
    cache->has_evicted = true;
    for (;;) {
        if (bytes_of(cache, true) > cache->capacity - cache->capacity / 10 ||
            oldest_of(cache, false) == cache->n)
            return main_victim(cache);
        size_t i = small_victim(cache);
        if (i < cache->n)
            return i;
    }
}

static void evict(struct naive_cache *cache)
{
    size_t n = cache->n, i;
    if (is(cache, "sieve"))
        i = sieve_victim(cache);
    else if (is(cache, "s3fifo"))
        i = s3fifo_victim(cache);
    else
        i = ranked_victim(cache);
    struct entry gone = cut(cache, i);
    cache->used_bytes -= gone.n_bytes;
    if (gone.weight > cache->clock)
        cache->clock = gone.weight;
    if (is(cache, "s3fifo") && !gone.in_main)
        remember(cache, (struct past){.key = gone.key}, n * 9 / 10);
    if (is(cache, "pgdsf")) {
        bool found;
        struct past past = recall(cache->known, &cache->n_known, gone.key, &found);
        assert(found);
        remember(cache, past, n);
    }
}

/* --- what a use does -------------------------------------------------------------------------- */

static struct past *known(struct naive_cache *cache, uint64_t key)
{
    size_t i = 0;
    while (cache->known[i].key != key)
        i++;
    return &cache->known[i];
}

static void use(struct naive_cache *cache, struct entry *entry, uint64_t next_use)
{
    entry->used = cache->time;
    entry->n_use++;
    entry->next_use = next_use;
    if (is(cache, "gdsf"))
        entry->weight = cache->clock + (double)entry->n_use / (double)entry->n_bytes;
    if (is(cache, "cost"))
        entry->weight = cache->clock + entry->s_per_byte;
    if (is(cache, "pgdsf")) {
        struct past *past = known(cache, entry->key);
        past->n_use++;
        entry->weight =
            cache->clock + (double)past->n_use * (past->s_per_byte / (double)past->n_miss);
    }
}

bool naive_access(struct naive_cache *cache, uint64_t key, uint64_t n_bytes, double recompute_s,
                  uint64_t next_use)
{
    cache->time++;
    size_t i = find(cache, key);
    if (i < cache->n) {
        cache->entry[i].seen = true;
        cache->entry[i].round++;
        use(cache, &cache->entry[i], next_use);
        return true;
    }
    if (n_bytes > cache->capacity)
        return false;
    bool recalled;
    struct past past = recall(cache->ghost, &cache->n_ghost, key, &recalled);
    while (cache->used_bytes + n_bytes > cache->capacity)
        evict(cache);
    struct entry entry = {.key = key,
                          .n_bytes = n_bytes,
                          .came = cache->time,
                          .s_per_byte = recompute_s / (double)n_bytes};
    bool filling = !cache->has_evicted && bytes_of(cache, false) >= cache->capacity / 10;
    entry.in_main = recalled || filling;
    if (is(cache, "pgdsf")) {
        past.n_miss++;
        past.s_per_byte += entry.s_per_byte;
        cache->known = realloc(cache->known, (cache->n_known + 1) * sizeof past);
        cache->known[cache->n_known++] = past;
    }
    cache->used_bytes += n_bytes;
    use(cache, &entry, next_use);
    append(cache, entry);
    return false;
}

void naive_next_use(const uint64_t *key, size_t n, uint64_t *next)
{
    for (size_t i = 0; i < n; i++) {
        next[i] = UINT64_MAX;
        for (size_t k = i + 1; k < n; k++)
            if (key[k] == key[i]) {
                next[i] = k;
                break;
            }
    }
}
