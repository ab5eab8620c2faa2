#include "test.h"

#include "kernels/weights/tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *slurp(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s is not there", path);
    char *data = malloc(1 << 20);
    *n = fread(data, 1, 1 << 20, file);
    (void)fclose(file);
    return data;
}

static void blocks_unpack_to_what_gguf_py_reads(void **state)
{
    char line[16384], type[16], hex[1024];
    FILE *file = fopen("tests/data/packing.txt", "r");
    int n_type = 0;
    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        uint8_t block[512];
        float got[256];
        int at;
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%15s %1023s%n", type, hex, &at), 2);
        const struct kvs_packing *packing = NULL;
        for (uint32_t id = 0; id < 64 && !packing; id++)
            if (kvs_packing_of(id) && strcmp(kvs_packing_of(id)->name, type) == 0)
                packing = kvs_packing_of(id);
        if (!packing)
            fail_msg("%s is not known", type);
        assert_int_equal(strlen(hex), 2 * packing->n_byte);
        for (size_t i = 0; i < packing->n_byte; i++) {
            unsigned byte;
            sscanf(hex + 2 * i, "%2x", &byte);
            block[i] = (uint8_t)byte;
        }
        packing->unpack(got, block);
        const char *text = line + at;
        for (uint32_t i = 0; i < packing->n_block; i++) {
            char *end;
            double want = strtod(text, &end);
            assert_ptr_not_equal(text, end);
            text = end;
            if (!(fabs((double)got[i] - want) <= 1e-6 * fabs(want)))
                fail_msg("%s: element %u is %.9g, want %.9g", type, i, (double)got[i], want);
        }
        n_type++;
    }
    (void)fclose(file);
    assert_int_equal(n_type, 8);
}

static enum kvs_code parse(const void *data, size_t n, const char *config,
                           struct kvs_weights **weights, struct kvs_err *err)
{
    *err = (struct kvs_err){0};
    return kvs_weights_parse("w", data, n, config, config ? strlen(config) : 0, weights, err);
}

static void gguf_gives_shape_and_tensors(void **state)
{
    size_t n;
    char *data = slurp("tests/fuzz/weights/tiny.gguf", &n);
    struct kvs_weights *w;
    struct kvs_err err;
    float up[256];
    (void)state;
    if (parse(data, n, NULL, &w, &err))
        fail_msg("%s", err.msg);
    const struct kvs_weights_shape *s = kvs_weights_shape(w);
    assert_int_equal(s->n_layer, 1);
    assert_int_equal(s->hidden, 256);
    assert_int_equal(s->ffn, 1);
    assert_int_equal(s->n_head, 2);
    assert_int_equal(s->n_kv_head, 1);
    assert_int_equal(s->head_dim, 2);
    assert_int_equal(s->n_vocab, 3);
    assert_false(s->rope_halves);
    assert_true(s->freq[0] == 1);
    assert_true(kvs_weights_tied(w));
    kvs_weights_read(w, KVS_W_UP, 0, up);
    for (unsigned i = 0; i < 256; i++) {
        uint32_t bits = (0x3c00u + i) << 16;
        assert_memory_equal(&up[i], &bits, 4);
    }
    kvs_weights_close(w);
    free(data);
}

#define CONFIG(more)                                                                               \
    "{\"num_hidden_layers\": 1, \"hidden_size\": 4, \"intermediate_size\": 3, "                    \
    "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"vocab_size\": 5, "                  \
    "\"tie_word_embeddings\": true" more "}"

static void safetensors_read_by_name_and_config(void **state)
{
    size_t n;
    char *data = slurp("tests/fuzz/weights/tiny.safetensors", &n);
    struct kvs_weights *w;
    struct kvs_err err;
    float embed[20];
    (void)state;
    if (parse(data, n, CONFIG(""), &w, &err))
        fail_msg("%s", err.msg);
    assert_true(kvs_weights_shape(w)->rope_halves);
    kvs_weights_read(w, KVS_W_EMBED, 0, embed);
    for (int i = 0; i < 20; i++)
        assert_true(embed[i] == (float)i * 0.25f - 1);
    kvs_weights_read(w, KVS_W_DOWN, 0, embed); /* BF16; quarters are exact */
    for (int i = 0; i < 12; i++)
        assert_true(embed[i] == (float)i * 0.25f - 1);
    kvs_weights_close(w);
    /* Llama 3's scaling: with two frequencies of one, the first turns often and stays */
    if (parse(data, n, CONFIG(", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}"), &w,
              &err))
        fail_msg("%s", err.msg);
    assert_true(kvs_weights_shape(w)->freq[0] == 1);
    kvs_weights_close(w);
    assert_int_equal(parse(data, n, NULL, &w, &err), KVS_ERR_ARG);
    assert_int_equal(
        parse(data, n, CONFIG(", \"rope_scaling\": {\"rope_type\": \"yarn\"}"), &w, &err),
        KVS_ERR_PARSE);
    assert_int_equal(parse(data, n, CONFIG(", \"head_dim\": 4"), &w, &err), KVS_ERR_PARSE);
    assert_string_equal(
        err.msg, "w: tensor model.layers.0.self_attn.q_proj.weight: found 4 x 4, want 8 x 4");
    free(data);
}

static void llama2c_order_and_size_are_checked(void **state)
{
    size_t n;
    char *data = slurp("tests/fuzz/weights/tiny.bin", &n);
    struct kvs_weights *w;
    struct kvs_err err;
    float got[12];
    (void)state;
    if (parse(data, n, NULL, &w, &err))
        fail_msg("%s", err.msg);
    assert_false(kvs_weights_tied(w));
    kvs_weights_read(w, KVS_W_ATTN_NORM, 0, got);
    assert_true(fabsf(got[0] - .12f) <= 1e-6f); /* after 3 x 4 of the embedding */
    kvs_weights_read(w, KVS_W_UP, 0, got);      /* 12+4+16+8+8+16+4+12+12 before it */
    assert_true(fabsf(got[0] - .92f) <= 1e-6f);
    kvs_weights_read(w, KVS_W_OUTPUT, 0, got); /* the last 12 of 28 + 4 * 124 bytes */
    size_t last = (n - 32) / 4;
    assert_true(fabsf(got[11] - .01f * (float)last) <= 1e-6f);
    kvs_weights_close(w);
    assert_int_equal(parse(data, n - 4, NULL, &w, &err), KVS_ERR_PARSE);
    assert_int_equal(parse(data, 27, NULL, &w, &err), KVS_ERR_PARSE);
    free(data);
}

/* Cut anywhere: an error. Any byte changed: an error, or weights that can be read. */
static void damaged_files_are_errors_not_crashes(void **state)
{
    static const char *const files[] = {"tests/fuzz/weights/tiny.gguf",
                                        "tests/fuzz/weights/tiny.safetensors",
                                        "tests/fuzz/weights/tiny.bin"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        size_t n, header;
        char *data = slurp(files[i], &n);
        header = i == 0 ? 1400 : n;
        for (size_t cut = 0; cut < n; cut += cut < header ? 1 : 97) {
            struct kvs_weights *w;
            struct kvs_err err;
            char *part = malloc(cut ? cut : 1);
            memcpy(part, data, cut);
            if (!parse(part, cut, CONFIG(""), &w, &err))
                fail_msg("%s cut at %zu opens", files[i], cut);
            free(part);
        }
        for (size_t at = 0; at < header; at++)
            for (int bit = 0; bit < 8; bit += 3) {
                struct kvs_weights *w;
                struct kvs_err err;
                float *to;
                data[at] = (char)(data[at] ^ 1 << bit);
                if (parse(data, n, CONFIG(""), &w, &err) == KVS_OK) {
                    for (int kind = 0; kind < KVS_W_N_KIND; kind++) {
                        to = malloc(kvs_weights_n(w, (enum kvs_weight)kind) * sizeof *to);
                        kvs_weights_read(w, (enum kvs_weight)kind, 0, to);
                        free(to);
                    }
                    kvs_weights_close(w);
                }
                data[at] = (char)(data[at] ^ 1 << bit);
            }
        free(data);
    }
}

/* What was opened is ours: the file may be cut, or gone, and its tensors are what they were. */
static void a_file_cut_after_opening_still_gives_its_tensors(void **state)
{
    char path[] = "/tmp/kvsim-weights-XXXXXX";
    struct kvs_weights *w;
    size_t n;
    char *data = slurp("tests/fuzz/weights/tiny.gguf", &n);
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n), n);
    assert_int_equal(kvs_weights_open(path, &w, NULL), KVS_OK);
    size_t n_elem = kvs_weights_n(w, KVS_W_OUTPUT);
    float *before = malloc(n_elem * sizeof *before), *after = malloc(n_elem * sizeof *after);
    assert_true(before && after);
    kvs_weights_read(w, KVS_W_OUTPUT, 0, before);
    assert_int_equal(ftruncate(fd, 0), 0);
    kvs_weights_read(w, KVS_W_OUTPUT, 0, after); /* a mapping's pages would be gone: SIGBUS */
    assert_memory_equal(before, after, n_elem * sizeof *before);
    kvs_weights_close(w);
    free(before);
    free(after);
    free(data);
    close(fd);
    unlink(path);
}

static void errors_name_file_and_reason(void **state)
{
    struct kvs_weights *w;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_weights_open("no/such/file.gguf", &w, &err), KVS_ERR_ARG);
    assert_string_equal(err.msg, "no/such/file.gguf: No such file or directory");
    assert_null(w);
    err = (struct kvs_err){0};
    assert_int_equal(kvs_weights_open("tests", &w, &err), KVS_ERR_PARSE);
    assert_string_equal(err.msg, "tests: is no regular file, want a model's weights");
    err = (struct kvs_err){0};
    char zeros[64] = {0};
    assert_int_equal(parse(zeros, 64, NULL, &w, &err), KVS_ERR_PARSE);
    assert_string_equal(err.msg, "w: neither GGUF nor safetensors, and as llama2.c's .bin: dim: "
                                 "found 0, want 1 to 65536");
    memcpy(zeros, "GGUF\7", sizeof "GGUF\7");
    assert_int_equal(parse(zeros, 64, NULL, &w, &err), KVS_ERR_PARSE);
    assert_string_equal(err.msg, "w: GGUF version 7, want 2 or 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_unpack_to_what_gguf_py_reads),
        cmocka_unit_test(gguf_gives_shape_and_tensors),
        cmocka_unit_test(safetensors_read_by_name_and_config),
        cmocka_unit_test(llama2c_order_and_size_are_checked),
        cmocka_unit_test(damaged_files_are_errors_not_crashes),
        cmocka_unit_test(a_file_cut_after_opening_still_gives_its_tensors),
        cmocka_unit_test(errors_name_file_and_reason),
    };
    return cmocka_run_group_tests_name("weights", tests, NULL, NULL);
}
