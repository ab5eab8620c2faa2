/* serve.c - look up, run, store. */
#include "serve.h"

#include "../store/fill.h"

#include <assert.h>
#include <stdlib.h>

static const char tag[] = "raw16";

struct kvs_serve {
    struct kvs_serve_config config;
    struct kvs_shelf *shelf;
    uint8_t level[2 * KVS_MAX_LAYER], form[KVS_MAX_LAYER]; /* raw16; the only form */
    uint32_t none[KVS_MAX_LAYER];                          /* a cut: nothing computed again */
    struct prompt {
        struct kvs_block_key *key; /* [max_block], as all below */
        const uint32_t *tok;
        uint32_t n_tok, n_block, n_hit;
    } found, ran; /* the prompt looked up last, the one run last */
    struct kvs_stored **stored;
    struct kvs_exec_block *block;
    bool *lacks;
};

uint32_t kvs_serve_blocks(uint32_t n_tok, uint32_t block_tok)
{
    return n_tok ? (n_tok - 1) / block_tok : 0;
}

enum kvs_code kvs_serve_new(const struct kvs_serve_config *config, struct kvs_serve **result,
                            struct kvs_err *err)
{
    uint32_t max_block = kvs_forward_opt(config->forward)->max_ctx / config->block_tok + 1;
    struct kvs_serve *serve = calloc(1, sizeof *serve);
    enum kvs_code code = KVS_OK;

    *result = NULL;
    if (!serve)
        return kvs_nomem(err);
    static_assert(KVS_RAW16 == 0, "zeroed levels are raw");
    serve->config = *config;
    serve->found.key = calloc(max_block, sizeof *serve->found.key);
    serve->ran.key = calloc(max_block, sizeof *serve->ran.key);
    serve->stored = calloc(max_block, sizeof(struct kvs_stored *));
    serve->block = calloc(max_block, sizeof *serve->block);
    serve->lacks = calloc(max_block, sizeof *serve->lacks);
    if (!serve->found.key || !serve->ran.key || !serve->stored || !serve->block || !serve->lacks)
        code = kvs_nomem(err);
    else
        code = kvs_shelf_new(config->store, tag, config->evict, config->capacity_bytes,
                             &serve->shelf, err);
    for (uint32_t b = 0; b < max_block && !code && serve->block; b++)
        serve->block[b] = (struct kvs_exec_block){.first_tok = b * config->block_tok,
                                                  .n_tok = config->block_tok,
                                                  .form = &serve->stored[b]};
    if (code)
        kvs_serve_free(serve);
    else
        *result = serve;
    return code;
}

void kvs_serve_free(struct kvs_serve *serve)
{
    if (!serve)
        return;
    kvs_shelf_free(serve->shelf);
    free(serve->found.key);
    free(serve->ran.key);
    free(serve->stored);
    free(serve->block);
    free(serve->lacks);
    free(serve);
}

uint32_t kvs_serve_find(struct kvs_serve *serve, const uint32_t *tok, uint32_t n_tok,
                        int64_t now_ns)
{
    uint32_t n = kvs_serve_blocks(n_tok, serve->config.block_tok), n_hit = 0;
    struct prompt *found = &serve->found;

    assert(n_tok > 0 && n_tok <= kvs_forward_opt(serve->config.forward)->max_ctx);
    kvs_block_keys(serve->config.model_hash, tok, serve->config.block_tok, n, found->key);
    while (n_hit < n && kvs_shelf_holds(serve->shelf, found->key[n_hit]))
        n_hit++;
    /* from the end: a prefix is of use without its tail, so the tail is to leave first */
    for (uint32_t b = n_hit; b-- > 0;)
        kvs_shelf_touch(serve->shelf, found->key[b], now_ns);
    found->tok = tok;
    found->n_tok = n_tok;
    found->n_block = n;
    found->n_hit = n_hit;
    return n_hit;
}

enum kvs_code kvs_serve_run(struct kvs_serve *serve, const uint32_t *cut, float *logits,
                            struct kvs_exec_result *result, struct kvs_err *err)
{
    const struct prompt p = serve->found;
    uint32_t n_hit = 0;
    enum kvs_code code = KVS_OK;

    serve->found = serve->ran; /* whose keys' place the next prompt takes */
    serve->ran = p;
    while (n_hit < p.n_hit && kvs_shelf_holds(serve->shelf, p.key[n_hit]))
        n_hit++;
    struct kvs_exec_plan plan = {.tok = p.tok,
                                 .n_tok = p.n_tok,
                                 .block = serve->block,
                                 .n_block = n_hit,
                                 .n_form = 1,
                                 .cut = cut && n_hit == p.n_hit ? cut : serve->none,
                                 .form = serve->form};
    for (uint32_t b = 0; b < n_hit && !code; b++)
        code = kvs_store_find(serve->config.store, p.key[b], tag, &serve->stored[b], err);
    if (!code)
        code = kvs_exec_run(serve->config.exec, serve->config.store, &plan, logits, result, err);
    for (uint32_t b = 0; b < n_hit; b++) {
        kvs_stored_close(serve->stored[b]);
        serve->stored[b] = NULL;
    }
    return code;
}

enum kvs_code kvs_serve_keep(struct kvs_serve *serve, int64_t now_ns, struct kvs_err *err)
{
    const struct kvs_serve_config *config = &serve->config;
    const struct prompt *ran = &serve->ran;
    const struct kvs_fill fill = {.store = config->store,
                                  .shape = kvs_forward_shape(config->forward),
                                  .forward = config->forward,
                                  .model_hash = config->model_hash,
                                  .tok = ran->tok,
                                  .n_tok = ran->n_tok,
                                  .block_tok = config->block_tok,
                                  .level = serve->level};
    enum kvs_code code = KVS_OK;

    /* which ones is settled before the first of them makes others leave */
    for (uint32_t b = 0; b < ran->n_block; b++)
        serve->lacks[b] = !kvs_shelf_holds(serve->shelf, ran->key[b]);
    for (uint32_t b = ran->n_block; b-- > 0 && !code;) {
        const struct kvs_block_info info = {.n_bytes = config->block_bytes,
                                            .pos_tok = b * config->block_tok};
        uint8_t *file = NULL;
        size_t n_byte;
        bool kept;

        if (!serve->lacks[b])
            continue;
        code = kvs_fill_encode(&fill, b, ran->key[b], &file, &n_byte, err);
        if (!code)
            code =
                kvs_shelf_put(serve->shelf, ran->key[b], file, n_byte, &info, now_ns, &kept, err);
        free(file);
    }
    return code;
}

void kvs_serve_stats(const struct kvs_serve *serve, struct kvs_tier_stats *stats)
{
    kvs_shelf_stats(serve->shelf, stats);
}
