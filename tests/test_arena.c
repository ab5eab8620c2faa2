#include "test.h"

#include "base/arena.h"

#include <string.h>

static void pieces_are_aligned_zeroed_and_apart(void **state)
{
    struct kvs_arena *arena = kvs_arena_new();
    unsigned char *piece[300];
    (void)state;
    assert_non_null(arena);
    for (size_t i = 0; i < 300; i++) {
        size_t n = i * i % 5000;
        piece[i] = kvs_arena_alloc(arena, n, 1);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 16, 0);
        for (size_t j = 0; j < n; j++)
            assert_int_equal(piece[i][j], 0);
        memset(piece[i], (int)(i % 255) + 1, n);
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t j = 0; j < i * i % 5000; j++)
            assert_int_equal(piece[i][j], i % 255 + 1);
    kvs_arena_free(arena);
}

static void too_large_a_product_is_no_memory(void **state)
{
    struct kvs_arena *arena = kvs_arena_new();
    (void)state;
    assert_null(kvs_arena_alloc(arena, SIZE_MAX / 2, 3));
    assert_null(kvs_arena_alloc(arena, SIZE_MAX, 1));
    assert_non_null(kvs_arena_alloc(arena, 0, 8));
    kvs_arena_free(arena);
    kvs_arena_free(NULL);
}

static void large_piece_leaves_the_chunk_in_use(void **state)
{
    struct kvs_arena *arena = kvs_arena_new();
    (void)state;
    char *a = kvs_arena_str(arena, "a");
    char *large = kvs_arena_alloc(arena, 1, 3 << 20);
    char *b = kvs_arena_str(arena, "b");
    assert_non_null(large);
    assert_ptr_equal(b, a + 16);
    assert_string_equal(a, "a");
    assert_string_equal(b, "b");
    kvs_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_zeroed_and_apart),
        cmocka_unit_test(too_large_a_product_is_no_memory),
        cmocka_unit_test(large_piece_leaves_the_chunk_in_use),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
