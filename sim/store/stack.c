#include "stack.h"

#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_WORDS = 8, LINE_BITS = 64 * LINE_WORDS, FIRST_LINES = 8 }; /* a line of the cache */

struct kvs_stack {
    struct kvs_map time_of; /* key to the time of its last use */
    uint64_t *key_at;       /* [n_line * LINE_BITS]: by time, where its bit is set */
    uint64_t *bit;          /* [n_line * LINE_WORDS] */
    uint32_t *tree;         /* [n_line + 1]: Fenwick sums of bits of lines, from 1 */
    uint32_t n_line, now;   /* next time */
};

struct kvs_stack *kvs_stack_new(void)
{
    struct kvs_stack *stack = calloc(1, sizeof *stack);
    if (!stack)
        return NULL;
    stack->n_line = FIRST_LINES;
    stack->key_at = calloc((size_t)stack->n_line * LINE_BITS, sizeof *stack->key_at);
    stack->bit = calloc((size_t)stack->n_line * LINE_WORDS, sizeof *stack->bit);
    stack->tree = calloc((size_t)stack->n_line + 1, sizeof *stack->tree);
    if (kvs_map_init(&stack->time_of, 64) && stack->key_at && stack->bit && stack->tree)
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

static void tree_add(struct kvs_stack *stack, uint32_t line, uint32_t by)
{
    for (uint32_t i = line + 1; i <= stack->n_line; i += i & (0 - i))
        stack->tree[i] += by; /* may wrap: subtraction is addition of 2^32 - 1 */
}

/* Set bits of times up to and including time. */
static uint32_t bits_upto(const struct kvs_stack *stack, uint32_t time)
{
    const uint32_t line = time / LINE_BITS, word = time / 64;
    uint32_t n = 0;
    for (uint32_t i = line; i; i -= i & (0 - i))
        n += stack->tree[i];
    for (uint32_t i = line * LINE_WORDS; i < word; i++)
        n += (uint32_t)__builtin_popcountll(stack->bit[i]);
    return n + (uint32_t)__builtin_popcountll(stack->bit[word] << (63 - time % 64));
}

static void rebuild_tree(struct kvs_stack *stack)
{
    memset(stack->tree, 0, ((size_t)stack->n_line + 1) * sizeof *stack->tree);
    for (uint32_t line = 0; line < stack->n_line; line++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < LINE_WORDS; i++)
            n += (uint32_t)__builtin_popcountll(stack->bit[line * LINE_WORDS + i]);
        const uint32_t i = line + 1, parent = i + (i & (0 - i));
        stack->tree[i] += n; /* its children have added themselves */
        if (parent <= stack->n_line)
            stack->tree[parent] += stack->tree[i];
    }
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
    rebuild_tree(stack);
    stack->now = n;
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
    uint32_t *tree = realloc(stack->tree, (n_line + 1) * sizeof *tree);
    if (tree)
        stack->tree = tree;
    if (!key_at || !bit || !tree)
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
        *time = now;
        if (before / LINE_BITS != now / LINE_BITS) {
            tree_add(stack, before / LINE_BITS, UINT32_MAX);
            tree_add(stack, now / LINE_BITS, 1);
        }
    } else {
        tree_add(stack, now / LINE_BITS, 1);
    }
    stack->bit[now / 64] |= UINT64_C(1) << now % 64;
    stack->key_at[now] = key;
    stack->now++;
    return true;
}
