/* Worker processes: each item once, whatever dies. */
#include "study/farm.h"
#include "test.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define N_ITEM 40

/* What the workers did is seen through memory that they share. */
struct barn {
    uint64_t next;
    unsigned n_done[N_ITEM];
    char reason[N_ITEM][100];
    unsigned *n_work;                /* [N_ITEM], shared */
    int (*accident)(unsigned n_try); /* what befalls item 7: a signal, or 0 */
};

static bool barn_next(void *ctx, uint64_t *item)
{
    struct barn *barn = ctx;
    *item = barn->next;
    return barn->next++ < N_ITEM;
}

static char *barn_work(void *ctx, uint64_t item)
{
    struct barn *barn = ctx;
    char *text = NULL;
    const unsigned n_try = ++barn->n_work[item];
    if (item == 7 && barn->accident && barn->accident(n_try))
        (void)raise(barn->accident(n_try));
    return asprintf(&text, "%" PRIu64, item * item) < 0 ? NULL : text;
}

static enum kvs_code barn_done(void *ctx, uint64_t item, const char *text, const char *reason,
                               struct kvs_err *err)
{
    struct barn *barn = ctx;
    (void)err;
    barn->n_done[item]++;
    if (text)
        assert_int_equal(strtoull(text, NULL, 10), item * item);
    else
        snprintf(barn->reason[item], sizeof barn->reason[item], "%s", reason);
    return KVS_OK;
}

static void farm_barn(struct barn *barn, unsigned n_worker)
{
    const struct kvs_farm farm = {
        .ctx = barn, .next = barn_next, .work = barn_work, .done = barn_done};
    struct kvs_err err = {0};
    barn->n_work = mmap(NULL, N_ITEM * sizeof *barn->n_work, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(barn->n_work != MAP_FAILED);
    if (kvs_farm_local(&farm, n_worker, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < N_ITEM; i++)
        assert_int_equal(barn->n_done[i], 1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    munmap(barn->n_work, N_ITEM * sizeof *barn->n_work);
}

static int killed_once(unsigned n_try)
{
    return n_try == 1 ? SIGKILL : 0;
}

static int killed_always(unsigned n_try)
{
    (void)n_try;
    return SIGKILL;
}

static int crashes(unsigned n_try)
{
    (void)n_try;
    return SIGXCPU; /* one that cmocka does not catch */
}

static void every_item_is_made_once(void **state)
{
    (void)state;
    for (unsigned n_worker = 1; n_worker < 6; n_worker += 2) {
        struct barn barn = {0};
        farm_barn(&barn, n_worker);
    }
}

static void killed_workers_item_is_made_again(void **state)
{
    struct barn once = {.accident = killed_once}, always = {.accident = killed_always};
    (void)state;
    farm_barn(&once, 2);
    assert_string_equal(once.reason[7], "");
    farm_barn(&always, 2);
    assert_string_equal(always.reason[7], "the worker ended by signal 9 (Killed)");
}

static void crash_is_told_and_stops_no_other(void **state)
{
    struct barn barn = {.accident = crashes};
    (void)state;
    farm_barn(&barn, 2);
    assert_string_equal(barn.reason[7], "the worker ended by signal 24 (CPU time limit exceeded)");
    assert_string_equal(barn.reason[8], "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_made_once),
        cmocka_unit_test(killed_workers_item_is_made_again),
        cmocka_unit_test(crash_is_told_and_stops_no_other),
    };
    return cmocka_run_group_tests_name("farm", tests, NULL, NULL);
}
