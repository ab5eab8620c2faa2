#include "stack.h"

#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A line of bits and a span's counts are a line of the cache each. */
enum { LINE_WORDS = 8, LINE_BITS = 64 * LINE_WORDS, SPAN_LINES = 32, FIRST_LINES = SPAN_LINES };

struct kvs_stack {
    struct kvs_map time_of; /* key to the time of its last use */
    uint64_t *key_at;       /* [n_line * LINE_BITS]: by time, where its bit is set */
    uint64_t *bit;          /* [n_line * LINE_WORDS] */
    uint16_t *count;        /* [n_line]: bits of each line */
    uint32_t *tree; /* [n_line / SPAN_LINES + 1]: Fenwick sums of bits of whole spans of lines, from
                       1; the span of now and those after it are not in it */
    uint32_t n_line, now; /* a multiple of SPAN_LINES; next time */
};

struct kvs_stack *kvs_stack_new(void)
{
    struct kvs_stack *stack = calloc(1, sizeof *stack);
    if (!stack)
        return NULL;
    stack->n_line = FIRST_LINES;
    stack->key_at = calloc((size_t)stack->n_line * LINE_BITS, sizeof *stack->key_at);
    stack->bit = calloc((size_t)stack->n_line * LINE_WORDS, sizeof *stack->bit);
    stack->count = calloc(stack->n_line, sizeof *stack->count);
    stack->tree = calloc((size_t)stack->n_line / SPAN_LINES + 1, sizeof *stack->tree);
    if (kvs_map_init(&stack->time_of, 64) && stack->key_at && stack->bit && stack->count &&
        stack->tree)
        return stack;
    kvs_stack_free(stack);
    return NULL;
}

void kvs_stack_free(struct kvs_stack *stack)
{
    if (!stack)
        return;
    kvs_map_free(&stack->time_of);
    free(stack->key_at);
    free(stack->bit);
    free(stack->count);
    free(stack->tree);
    free(stack);
}

uint64_t kvs_stack_n_key(const struct kvs_stack *stack)
{
    return stack->time_of.n;
}

void kvs_stack_prefetch(const struct kvs_stack *stack, uint64_t key)
{
    kvs_map_prefetch(&stack->time_of, key);
}

void kvs_stack_prefetch_bit(const struct kvs_stack *stack, uint64_t key)
{
    const uint32_t *time = kvs_map_find(&stack->time_of, key);
    if (time) {
        __builtin_prefetch(&stack->bit[*time / 64]);
        __builtin_prefetch(&stack->count[*time / LINE_BITS]);
    }
}

static void tree_add(struct kvs_stack *stack, uint32_t span, uint32_t by)
{
    const uint32_t n = stack->n_line / SPAN_LINES;
    for (uint32_t i = span + 1; i <= n; i += i & (0 - i))
        stack->tree[i] += by; /* may wrap: subtraction is addition of 2^32 - 1 */
}

/* Bits of a span's first n lines. */
static uint32_t span_bits(const struct kvs_stack *stack, uint32_t span, uint32_t n_line)
{
    const uint16_t *count = stack->count + (size_t)span * SPAN_LINES;
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_line; i++)
        n += count[i];
    return n;
}

/* Set bits of times up to and including time. */
static uint32_t bits_upto(const struct kvs_stack *stack, uint32_t time)
{
    const uint32_t line = time / LINE_BITS, word = time / 64, span = line / SPAN_LINES;
    uint32_t n = span_bits(stack, span, line % SPAN_LINES);
    for (uint32_t i = span; i; i -= i & (0 - i))
        n += stack->tree[i];
    for (uint32_t i = line * LINE_WORDS; i < word; i++)
        n += (uint32_t)__builtin_popcountll(stack->bit[i]);
    return n + (uint32_t)__builtin_popcountll(stack->bit[word] << (63 - time % 64));
}

static uint32_t span_of(uint32_t time)
{
    return time / LINE_BITS / SPAN_LINES;
}

/* Counts and sums of all bits, which lie below now. */
static void rebuild_tree(struct kvs_stack *stack)
{
    memset(stack->tree, 0, ((size_t)stack->n_line / SPAN_LINES + 1) * sizeof *stack->tree);
    for (uint32_t line = 0; line < stack->n_line; line++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < LINE_WORDS; i++)
            n += (uint32_t)__builtin_popcountll(stack->bit[line * LINE_WORDS + i]);
        stack->count[line] = (uint16_t)n;
    }
    for (uint32_t span = 0; span < span_of(stack->now); span++)
        tree_add(stack, span, span_bits(stack, span, SPAN_LINES));
}

/* New times 0, 1, ... for the keys in use, in their order. */
static void renumber(struct kvs_stack *stack)
{
    const uint32_t n = (uint32_t)stack->time_of.n;
    uint32_t next = 0;
    for (uint32_t i = 0; i < stack->n_line * LINE_WORDS; i++)
        for (uint64_t word = stack->bit[i]; word; word &= word - 1) {
            const uint64_t key = stack->key_at[(size_t)i * 64 + (uint32_t)__builtin_ctzll(word)];
            *kvs_map_find(&stack->time_of, key) = next;
            stack->key_at[next++] = key;
        }
    assert(next == n);
    memset(stack->bit, 0, (size_t)stack->n_line * LINE_WORDS * sizeof *stack->bit);
    memset(stack->bit, 0xff, n / 64 * sizeof *stack->bit);
    if (n % 64)
        stack->bit[n / 64] = (UINT64_C(1) << n % 64) - 1;
    stack->now = n;
    rebuild_tree(stack);
}

/* Room for as many times again, with at least two times of three free after it. */
static bool make_room(struct kvs_stack *stack)
{
    const size_t n_line = (size_t)stack->n_line * 2;
    if (stack->time_of.n * 3 < (size_t)stack->n_line * LINE_BITS) {
        renumber(stack);
        return true;
    }
    if (n_line * LINE_BITS > UINT32_MAX / 2)
        return false;
    uint64_t *key_at = realloc(stack->key_at, n_line * LINE_BITS * sizeof *key_at);
    if (key_at)
        stack->key_at = key_at;
    uint64_t *bit = realloc(stack->bit, n_line * LINE_WORDS * sizeof *bit);
    if (bit)
        stack->bit = bit;
    uint16_t *count = realloc(stack->count, n_line * sizeof *count);
    if (count)
        stack->count = count;
    uint32_t *tree = realloc(stack->tree, (n_line / SPAN_LINES + 1) * sizeof *tree);
    if (tree)
        stack->tree = tree;
    if (!key_at || !bit || !count || !tree)
        return false;
    memset(bit + (size_t)stack->n_line * LINE_WORDS, 0,
           (n_line - stack->n_line) * LINE_WORDS * sizeof *bit);
    stack->n_line = (uint32_t)n_line;
    rebuild_tree(stack);
    return true;
}

bool kvs_stack_access(struct kvs_stack *stack, uint64_t key, uint32_t *distance)
{
    bool found;
    *distance = 0;
    if (stack->now == stack->n_line * LINE_BITS && !make_room(stack))
        return false;
    const uint32_t now = stack->now;
    uint32_t *time = kvs_map_put(&stack->time_of, key, now, &found);
    if (!time)
        return false;
    if (found) {
        const uint32_t before = *time;
        *distance = (uint32_t)stack->time_of.n + 1 - bits_upto(stack, before);
        stack->bit[before / 64] &= ~(UINT64_C(1) << before % 64);
        stack->count[before / LINE_BITS]--;
        *time = now;
        if (span_of(before) < span_of(now))
            tree_add(stack, span_of(before), UINT32_MAX);
    }
    stack->count[now / LINE_BITS]++;
    stack->bit[now / 64] |= UINT64_C(1) << now % 64;
    stack->key_at[now] = key;
    stack->now++;
    if (stack->now % (LINE_BITS * SPAN_LINES) == 0) /* a span is whole */
        tree_add(stack, span_of(now), span_bits(stack, span_of(now), SPAN_LINES));
    return true;
}
