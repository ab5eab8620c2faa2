/*
 * levels.h - the levels of all layers as text, and files of prompts: what commands take.
 */
#ifndef KVS_STORE_LEVELS_H
#define KVS_STORE_LEVELS_H

#include "../codec/codec.h"

#include <stdio.h>

/*
 * "e4": of all layers, K and V; "p8/e4": of K and of V; "p8*2,e4/p4*28": of so many layers each, of
 * n_layer in all. level: [n_layer * 2]. what names the text in messages.
 */
KVS_MUST_CHECK enum kvs_code kvs_levels_parse(const char *what, const char *text, uint32_t n_layer,
                                              uint8_t *level, struct kvs_err *err);
/* As short as that. */
void kvs_levels_print(FILE *to, const uint8_t *level, uint32_t n_layer);

/* Prompts of a file: token numbers, a prompt a line; what follows a '#' is a comment. */
struct kvs_prompts {
    uint32_t n;        /* at least 1, each of at least 1 token */
    uint32_t most_tok; /* of the longest */
    uint32_t *line;    /* [n], from 1 */
    size_t *first;     /* [n + 1]: prompt i is tok[first[i]] to tok[first[i + 1] - 1] */
    uint32_t *tok;
};
KVS_MUST_CHECK enum kvs_code kvs_prompts_read(const char *file, struct kvs_prompts *prompts,
                                              struct kvs_err *err);
void kvs_prompts_free(struct kvs_prompts *prompts); /* accepts a zeroed one */

#endif
