#include "test.h"

#include "model/hardware.h"
#include "model/layout.h"

#include <math.h>

static struct kvs_model *open_model(const char *name)
{
    struct kvs_model *model = NULL;
    struct kvs_err err = {0};
    if (kvs_model_open(name, &model, &err))
        fail_msg("%s", err.msg);
    return model;
}

/* Llama-3.1-8B: 32 layers, 4096 bytes of K and V a token and layer. */
static void pieces_of_the_common_stores_are_as_published(void **state)
{
    static const struct {
        const char *name;
        double layer_n, layer_bytes, bulk_n, bulk_bytes; /* of 1024 tokens */
    } want[] = {
        {"vllm-blocks", 128, 32 << 10, 4096, 32 << 10},
        {"vllm-offload", 64, 64 << 10, 64, 2 << 20}, /* the blog's 2 MiB */
        {"lmcache-256", 4, 1 << 20, 4, 32 << 20},
        {"layer-first", 32, 128 << 10, 1024, 128 << 10},
        {"page-first", 32, 128 << 10, 32, 4 << 20},
        {"blocks", 4, 1 << 20, 128, 1 << 20},
        {"sections", 2, 2 << 20, 64, 2 << 20}, /* blocks of 512 tokens */
    };
    struct kvs_model *model = open_model("llama-3.1-8b");
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const struct kvs_layout *layout = kvs_layout_find(want[i].name);
        assert_non_null(layout);
        struct kvs_pieces layer = kvs_layout_layer(layout, model, 0, 1024, 512, 1);
        struct kvs_pieces bulk = kvs_layout_bulk(layout, model, 1024, 512, 1);
        assert_true(layer.n_piece == want[i].layer_n && layer.piece_bytes == want[i].layer_bytes);
        assert_true(bulk.n_piece == want[i].bulk_n && bulk.piece_bytes == want[i].bulk_bytes);
        assert_true(layer.n_bytes == 1024 * 4096 && bulk.n_bytes == 32.0 * 1024 * 4096);
    }
    assert_null(kvs_layout_find("tape"));
    kvs_model_free(model);
}

static void the_last_block_counts_as_whole_and_sections_are_padded(void **state)
{
    struct kvs_model *model = open_model("llama-3.1-8b");
    const struct kvs_layout *sections = kvs_layout_find("sections");
    struct kvs_pieces pieces =
        kvs_layout_layer(kvs_layout_find("lmcache-256"), model, 0, 257, 0, 1);
    (void)state;
    assert_true(pieces.n_piece == 2 && pieces.n_bytes == 2 << 20);
    pieces = kvs_layout_layer(sections, model, 0, 5, 5, 0.125); /* 5 * 512 bytes, to one page */
    assert_true(pieces.n_piece == 1 && pieces.n_bytes == 4096);
    pieces = kvs_layout_layer(sections, model, 0, 0, 5, 1);
    assert_true(pieces.n_piece == 0 && pieces.n_bytes == 0);
    kvs_model_free(model);
}

static void latent_kv_is_one_piece(void **state)
{
    struct kvs_model *model = open_model("deepseek-v3");
    struct kvs_pieces pieces = kvs_layout_layer(kvs_layout_find("vllm-blocks"), model, 0, 16, 0, 1);
    (void)state;
    assert_true(pieces.n_piece == 1 && pieces.n_bytes == 16 * 1152);
    kvs_model_free(model);
}

/* Strata (arXiv 2508.18572) reports 22 % of PCIe 5 (63 GB/s) for pages of 32 tokens copied layer by
 * layer; a layer-first page of 32 tokens of Llama-3.1-8B is 64 KiB of K. */
static void small_pages_deliver_a_small_share(void **state)
{
    struct kvs_hw *hw = NULL;
    struct kvs_err err = {0};
    struct kvs_model *model = open_model("llama-3.1-8b");
    struct kvs_layout pages = *kvs_layout_find("layer-first");
    (void)state;
    pages.block_tok = 32;
    if (kvs_hw_open("h100-sxm", &hw, &err) || !hw) {
        fail_msg("%s", err.msg);
        return;
    }
    struct kvs_pieces load = kvs_layout_layer(&pages, model, 0, 3200, 0, 1);
    double s = kvs_link_s(kvs_hw_link(hw, "pcie"), false, load.n_bytes, load.n_piece);
    double share = load.n_bytes / s / 63e9;
    if (!(fabs(share - 0.22) < 0.03))
        fail_msg("%.3f of PCIe 5", share);
    kvs_hw_free(hw);
    kvs_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_the_common_stores_are_as_published),
        cmocka_unit_test(the_last_block_counts_as_whole_and_sections_are_padded),
        cmocka_unit_test(latent_kv_is_one_piece),
        cmocka_unit_test(small_pages_deliver_a_small_share),
    };
    return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
