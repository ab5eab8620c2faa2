#include "layout.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const struct kvs_layout kvs_layouts[] = {
    {"blocks", "the caller's blocks as they are, K and V of a layer apart", 0, false, false, 1},
    {"vllm-blocks", "vLLM's paged blocks of 16 tokens, K and V of a layer apart", 16, false, false,
     1},
    {"vllm-offload",
     "vLLM's offloading connector: a block's layers together (2 MiB for "
     "Llama-3.1-8B; KV offloading blog, Jan 2026)",
     16, true, true, 1},
    {"lmcache-256", "LMCache: chunks of 256 tokens packed over layers (arXiv 2510.09665)", 256,
     true, true, 1},
    {"layer-first",
     "SGLang HiCache's layer-first pool: pages of 64 tokens, K and V of a layer apart", 64, false,
     false, 1},
    {"page-first", "SGLang HiCache's page-first pool: a page's layers together, K and V apart", 64,
     true, false, 1},
    {"sections", "kvsim's own: a section a layer and block, K then V, aligned for O_DIRECT", 0,
     false, true, 4096},
    {NULL, NULL, 0, false, false, 0},
};

const struct kvs_layout *kvs_layout_find(const char *name)
{
    for (const struct kvs_layout *layout = kvs_layouts; layout->name; layout++)
        if (strcmp(layout->name, name) == 0)
            return layout;
    return NULL;
}

/* n_piece pieces that hold n_bytes in equal parts, each padded. */
static struct kvs_pieces cut(const struct kvs_layout *layout, double n_piece, double n_bytes)
{
    struct kvs_pieces pieces = {0};
    if (n_piece <= 0)
        return pieces;
    double align = layout->align_bytes;
    pieces.n_piece = n_piece;
    pieces.piece_bytes = ceil(n_bytes / n_piece / align) * align;
    pieces.n_bytes = n_piece * pieces.piece_bytes;
    return pieces;
}

static double tok_of_block(const struct kvs_layout *layout, uint32_t block_tok)
{
    uint32_t n_tok = layout->block_tok ? layout->block_tok : block_tok;
    assert(n_tok > 0);
    return n_tok;
}

static double parts(const struct kvs_layout *layout, const struct kvs_model *model)
{
    return layout->kv_together || model->mla.kv_lora ? 1 : 2;
}

struct kvs_pieces kvs_layout_layer(const struct kvs_layout *layout, const struct kvs_model *model,
                                   uint32_t layer, double n_tok, uint32_t block_tok, double share)
{
    double each = tok_of_block(layout, block_tok), n_block = ceil(n_tok / each);
    double n_bytes = n_block * each * kvs_model_kv_bytes_per_tok(model, layer) * share;
    return cut(layout, n_block * parts(layout, model), n_bytes);
}

struct kvs_pieces kvs_layout_bulk(const struct kvs_layout *layout, const struct kvs_model *model,
                                  double n_tok, uint32_t block_tok, double share)
{
    double each = tok_of_block(layout, block_tok), n_block = ceil(n_tok / each), per_tok = 0;
    for (uint32_t l = 0; l < model->n_layer; l++)
        per_tok += kvs_model_kv_bytes_per_tok(model, l);
    double n_piece = n_block * parts(layout, model) * (layout->all_layers ? 1 : model->n_layer);
    return cut(layout, n_piece, n_block * each * per_tok * share);
}
