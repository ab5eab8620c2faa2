#include "test.h"

#include "fault.h"
#include "kernels/codec/attend.h"
#include "kernels/codec/format.h"
#include "kernels/codec/gpu.h"
#include "kernels/codec/measure.h"
#include "kvf_made.h"
#include "tmpdir.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Elements, and the file that they are without a fault. */
struct scene {
    struct made made;
    uint8_t *file;
    size_t n_byte;
};

struct lab {
    struct scene *scene; /* [n], encoded one after another */
    unsigned n;
    const struct kvs_kvf_isa *isa;
    const char *path; /* of scene[0]'s file */
    uint64_t seen;    /* hash of all that reading gave without a fault */
};

/* Elements that are no number, which become escapes: 70 of each K, more than an encoder first has
 * room for, and all of the last V, so that the file is longer than what it is of. */
static void add_odd(struct made *made)
{
    const struct kvs_kvf_shape *s = &made->shape;
    uint32_t n_chan = kvs_kvf_n_chan(s), last = s->n_layer * 2 - 1;

    for (uint32_t i = 0; i < last; i += 2)
        for (uint32_t k = 0; k < 70; k++)
            ((uint16_t *)(uintptr_t)made->x[i])[s->n_sink * n_chan + k * 5] = 0x7f80;
    for (size_t k = 0; k < (size_t)s->n_tok * n_chan; k++)
        ((uint16_t *)(uintptr_t)made->x[last])[k] = 0x7f80;
}

static void end_scene(struct scene *scene)
{
    kvf_made_free(&scene->made);
    free(scene->file);
}

static struct kvs_kvf_in in_of(const struct scene *scene)
{
    const struct made *made = &scene->made;
    return (struct kvs_kvf_in){made->shape, made->x, made->level, made->weight};
}

/* The file if code is none, else nothing; true if it is the file. */
static void check_file(const struct scene *scene, enum kvs_code code, const uint8_t *file, size_t n)
{
    if (code) {
        assert_null(file);
        assert_int_equal(n, 0);
        return;
    }
    assert_int_equal(n, scene->n_byte);
    assert_memory_equal(file, scene->file, n);
}

/* Into one memory, one scene after another; the one that fails once more: its file comes then. */
static enum kvs_code encode_into(void *ctx, struct kvs_err *err)
{
    const struct lab *lab = ctx;
    struct kvs_kvf_memory memory = {0};
    enum kvs_code code = KVS_OK;

    for (unsigned i = 0; i < lab->n && !code; i++) {
        const struct scene *scene = &lab->scene[i];
        struct kvs_kvf_in in = in_of(scene);
        uint8_t *file;
        size_t n;

        code = kvs_kvf_encode_into(&memory, &in, lab->isa, &file, &n, err);
        check_file(scene, code, file, n);
        assert_true(malloc_usable_size(memory.bytes) >= memory.room);
        assert_true(malloc_usable_size(memory.symbol) >= memory.n_symbol);
        if (code) {
            enum kvs_code again = kvs_kvf_encode_into(&memory, &in, lab->isa, &file, &n, NULL);
            assert_int_equal(again, KVS_OK);
            check_file(scene, again, file, n);
        }
    }
    kvs_kvf_memory_free(&memory);
    return code;
}

static void each_level_says_no_memory_and_encodes_again(void **state)
{
    (void)state;
    for (uint32_t l = 0; l < KVS_N_LEVEL; l++)
        for (int half = 0; half < 2; half++) {
            struct scene scene = {kvf_make(1, 3, 43, 30, 20, 4, (enum kvs_half)half), NULL, 0};
            struct lab lab = {.scene = &scene, .n = 1, .isa = kvs_kvf_isa(NULL)};
            if (l != KVS_LX || half == KVS_HALF_BF16) {
                add_odd(&scene.made);
                scene.made.level[0] = scene.made.level[1] = (uint8_t)l;
                scene.file = kvf_encode(&scene.made, NULL, &scene.n_byte);
                kvs_fault_every(KVS_FAULT_MEM, true, encode_into, &lab);
            }
            end_scene(&scene);
        }
}

/* 192 channels are two streams a section: those of two sections go at once, the second's place is
 * found while the first is written. K and V differ, and some have no streams at all. */
static void sections_that_share_a_batch_say_no_memory_and_encode_again(void **state)
{
    static const uint8_t level[8] = {KVS_E4,    KVS_E4, KVS_E6,   KVS_P4,
                                     KVS_RAW16, KVS_E2, KVS_E1_5, KVS_E5};
    static float weight[192];
    static const float *weights[8];
    (void)state;
    for (int c = 0; c < 192; c++)
        weight[c] = (float)exp(3 * sin(1.7 * c));
    for (int i = 0; i < 8; i++)
        weights[i] = i % 3 ? weight : NULL;
    for (int turn = 0; turn < 2 * KVF_ISAS; turn++) {
        enum kvs_half half = turn / 2 % 2 ? KVS_F16 : KVS_HALF_BF16;
        struct scene scene = {kvf_make(4, 3, turn % 2 ? 64 : 43, 64, 40, 4, half), NULL, 0};
        struct lab lab = {.scene = &scene, .n = 1, .isa = kvs_kvf_isa(kvf_isas[turn / 2])};
        add_odd(&scene.made);
        memcpy(scene.made.level, level, sizeof level);
        scene.made.weight = turn % 4 == 1 || turn % 4 == 2 ? weights : NULL;
        scene.file = kvf_encode(&scene.made, NULL, &scene.n_byte);
        if (lab.isa)
            kvs_fault_every(KVS_FAULT_MEM, true, encode_into, &lab);
        end_scene(&scene);
    }
}

/* Small, large (more than what comes from malloc), small. */
static void memory_whose_growth_fails_is_good_for_the_next_file(void **state)
{
    struct scene scene[3] = {{kvf_make(1, 1, 64, 30, 30, 0, KVS_F16), NULL, 0},
                             {kvf_make(2, 2, 96, 100, 100, 4, KVS_F16), NULL, 0},
                             {kvf_make(1, 1, 33, 20, 20, 0, KVS_F16), NULL, 0}};
    struct lab lab = {.scene = scene, .n = 3, .isa = kvs_kvf_isa(NULL)};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        memset(scene[i].made.level, KVS_E4, sizeof scene[i].made.level);
        scene[i].file = kvf_encode(&scene[i].made, NULL, &scene[i].n_byte);
    }
    kvs_fault_every(KVS_FAULT_MEM, true, encode_into, &lab);
    for (unsigned i = 0; i < 3; i++)
        end_scene(&scene[i]);
}

static uint64_t add(uint64_t seen, const void *data, size_t n_byte)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < n_byte; i++)
        seen = (seen ^ at[i]) * 0x100000001b3;
    return seen;
}

/* Room that is not the code's own. */
static uint16_t out[64 * 192];
static float step[64 * 192];
static uint32_t word_at[64];
static uint8_t order[192];

static enum kvs_code read_section(const struct lab *lab, const struct kvs_kvf *codec, uint32_t i,
                                  uint64_t *seen, struct kvs_err *err)
{
    uint32_t n_chan = kvs_kvf_n_chan(kvs_kvf_shape(codec));
    size_t n = (size_t)kvs_kvf_section(codec, i).n_tok * n_chan;
    struct kvs_kvf_parts parts = {0};
    struct kvs_kvf_gpu job;
    double bits;
    enum kvs_code code;

    if ((code = kvs_kvf_decode(codec, i, NULL, lab->isa, out, n_chan, err)) ||
        (code = kvs_kvf_steps(codec, i, NULL, step, err)) ||
        (code = kvs_kvf_entropy(codec, i, NULL, lab->isa, &bits, err)) ||
        (code = kvs_kvf_section_parts(codec, i, NULL, &parts, err)) ||
        (code = kvs_kvf_gpu_plan(codec, i, NULL, &job, word_at, order, err)))
        return code;
    *seen = add(add(*seen, out, n * sizeof *out), step, n * sizeof *step);
    *seen = add(add(*seen, &bits, sizeof bits), &parts, sizeof parts);
    return KVS_OK;
}

/* All that a file is read for. */
static enum kvs_code read_all(void *ctx, struct kvs_err *err)
{
    struct lab *lab = ctx;
    struct kvs_kvf_in in = in_of(lab->scene);
    struct kvs_kvf_measure measure[2];
    struct kvs_kvf_error error[8];
    struct kvs_kvf_attention attention;
    struct kvs_kvf *codec;
    uint64_t seen = 0xcbf29ce484222325;
    enum kvs_code code = kvs_kvf_open(lab->path, true, &codec, err);

    if (code) {
        assert_null(codec);
        return code;
    }
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec) && !code; i++)
        code = read_section(lab, codec, i, &seen, err);
    if (!code && !(code = kvs_kvf_sizes(codec, lab->isa, &measure[0], err)) &&
        !(code = kvs_kvf_compare(codec, &in, lab->isa, &measure[1], error, err)))
        code = kvs_kvf_attention(codec, in.x, 5, lab->isa, &attention, NULL, err);
    if (!code) {
        seen = add(seen, &measure[0].bits_per_element, sizeof(double));
        seen = add(seen, &measure[1].error[0].rel_l2, sizeof(double));
        seen = add(seen, &attention.output_rel_l2, sizeof(double));
        assert_true(lab->seen == 0 || seen == lab->seen);
        lab->seen = seen;
    }
    kvs_kvf_close(codec);
    return code;
}

/* Faults of memory and of the file. */
static void reading_says_what_failed_and_reads_again(void **state)
{
    static const uint8_t level[8] = {KVS_E6, KVS_P8,    KVS_E3, KVS_FP8,
                                     KVS_LX, KVS_RAW16, KVS_P3, KVS_E5};
    char path[300];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/a.kvf", tmpdir());
    for (int k = 0; k < KVF_ISAS; k++) {
        struct scene scene = {kvf_make(4, 3, k % 2 ? 64 : 43, 64, 40, 4, KVS_HALF_BF16), NULL, 0};
        struct lab lab = {.scene = &scene, .n = 1, .isa = kvs_kvf_isa(kvf_isas[k]), .path = path};
        struct kvs_err err = {0};
        add_odd(&scene.made);
        memcpy(scene.made.level, level, sizeof level);
        scene.file = kvf_encode(&scene.made, NULL, &scene.n_byte);
        FILE *file = fopen(path, "wb");
        assert_int_equal(fwrite(scene.file, 1, scene.n_byte, file), scene.n_byte);
        assert_int_equal(fclose(file), 0);
        if (lab.isa) {
            assert_int_equal(read_all(&lab, &err), KVS_OK); /* lab.seen */
            kvs_fault_every(KVS_FAULT_MEM, true, read_all, &lab);
            kvs_fault_every(KVS_FAULT_IO, true, read_all, &lab);
        }
        end_scene(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_level_says_no_memory_and_encodes_again),
        cmocka_unit_test(sections_that_share_a_batch_say_no_memory_and_encode_again),
        cmocka_unit_test(memory_whose_growth_fails_is_good_for_the_next_file),
        cmocka_unit_test(reading_says_what_failed_and_reads_again),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_drop);
}
