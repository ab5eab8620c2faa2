#include "test.h"

#include "base/rng.h"
#include "engine/queue.h"

#include <stdlib.h>

static void ties_run_by_priority_then_as_scheduled(void **state)
{
    struct kvs_queue queue;
    struct kvs_event event;
    (void)state;
    kvs_queue_init(&queue);
    assert_true(kvs_queue_add(&queue, 5, 1, 10, 0));
    assert_true(kvs_queue_add(&queue, 5, 0, 11, 0));
    assert_true(kvs_queue_add(&queue, 5, 1, 12, 0));
    assert_true(kvs_queue_add(&queue, 3, 9, 13, 0));
    const uint32_t want[] = {13, 11, 10, 12};
    for (size_t i = 0; i < 4; i++) {
        assert_true(kvs_queue_take(&queue, &event));
        assert_int_equal(event.what, want[i]);
    }
    assert_false(kvs_queue_take(&queue, &event));
    kvs_queue_free(&queue);
}

static int by_order(const void *a, const void *b)
{
    const struct kvs_event *x = a, *y = b;
    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Random adds and takes against a sorted list. */
static void agrees_with_a_sorted_list(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "queue");
        struct kvs_queue queue;
        struct kvs_event list[2000], event;
        size_t n = 0;
        uint64_t seq = 0;
        kvs_queue_init(&queue);
        for (int step = 0; step < 2000; step++) {
            if (kvs_rng_below(&rng, 3)) {
                int64_t at_ns = (int64_t)kvs_rng_below(&rng, 50);
                unsigned priority = (unsigned)kvs_rng_below(&rng, 3);
                assert_true(kvs_queue_add(&queue, at_ns, priority, (uint32_t)step, 7));
                list[n++] =
                    (struct kvs_event){at_ns, (uint64_t)priority << 56 | seq++, (uint32_t)step, 7};
            } else {
                assert_int_equal(kvs_queue_take(&queue, &event), n > 0);
                if (!n)
                    continue;
                qsort(list, n, sizeof *list, by_order);
                assert_memory_equal(&event, &list[0], sizeof event);
                for (size_t i = 1; i < n; i++)
                    list[i - 1] = list[i];
                n--;
            }
        }
        kvs_queue_free(&queue);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties_run_by_priority_then_as_scheduled),
        cmocka_unit_test(agrees_with_a_sorted_list),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
