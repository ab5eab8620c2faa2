#include "test.h"

#include "kernels/opvec.h"

#include <stdio.h>
#include <stdlib.h>

/* Every vector on one back end; how many it offers. */
static unsigned all_vectors(const char *backend, uint64_t seed)
{
    unsigned n_run = 0;
    struct kvs_err err = {0};
    struct kvs_dev *dev;
    char name[160];

    enum kvs_code code = kvs_dev_open(backend, 0, seed, &dev, &err);
    if (code == KVS_ERR_ABSENT)
        KVS_SKIP("%s", err.msg);
    assert_int_equal(code, KVS_OK);
    for (unsigned i = 0; i < kvs_opvec_n(); i++) {
        err = (struct kvs_err){0};
        code = kvs_opvec_run(dev, i, &err);
        if (code != KVS_OK && code != KVS_ERR_ABSENT)
            fail_msg("%s, seed %d: %s: %s", backend, (int)seed, kvs_opvec_name(i, name), err.msg);
        n_run += code == KVS_OK;
    }
    kvs_dev_close(dev);
    return n_run;
}

static void ref_agrees_with_itself(void **state)
{
    (void)state;
    assert_int_equal(all_vectors("ref", 1), kvs_opvec_n());
}

static void cpu_agrees_with_ref_on_every_instruction_set(void **state)
{
    static const char *const sets[] = {"base", "base,own", "avx2,own", "avx512,own", NULL};
    unsigned n_set = 0;

    (void)state;
    for (int i = 0; i < 5; i++) {
        struct kvs_dev *dev;
        if (sets[i])
            setenv("KVS_CPU", sets[i], 1);
        else
            unsetenv("KVS_CPU");
        enum kvs_code code = kvs_dev_open("cpu", 0, 0, &dev, NULL);
        if (code == KVS_ERR_ABSENT)
            continue;
        assert_int_equal(code, KVS_OK);
        kvs_dev_close(dev);
        assert_int_equal(all_vectors("cpu", 1), kvs_opvec_n());
        n_set++;
    }
    unsetenv("KVS_CPU");
    assert_true(n_set >= 3);
}

static void simt_agrees_with_ref_in_every_schedule(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++)
        assert_true(all_vectors("simt", seed) > kvs_opvec_n() / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_agrees_with_itself),
        cmocka_unit_test(cpu_agrees_with_ref_on_every_instruction_set),
        cmocka_unit_test(simt_agrees_with_ref_in_every_schedule),
    };
    return cmocka_run_group_tests_name("opvec", tests, NULL, NULL);
}
