/*
 * layout.h - how stores lay KV out: how many pieces a load has, and of how many bytes.
 *
 * A piece is what one descriptor moves (one DMA copy, one read, one RDMA read). Delivered rates are
 * mostly a matter of its size: time = descriptor cost * pieces + bytes / rate (kvs_link_s).
 */
#ifndef KVS_LAYOUT_H
#define KVS_LAYOUT_H

#include "model.h"

struct kvs_layout {
    const char *name, *help; /* help: whose it is, with its source */
    uint32_t block_tok;      /* tokens of a stored block; 0: the caller's blocks */
    bool all_layers;         /* a block's layers lie one behind the other */
    bool kv_together;        /* so do a layer's K and V */
    uint32_t align_bytes;    /* pieces begin and end at multiples of this */
};

/* All, ended by one without a name; and one by name (NULL if there is none). */
extern const struct kvs_layout kvs_layouts[];
const struct kvs_layout *kvs_layout_find(const char *name);

struct kvs_pieces {
    double n_piece, piece_bytes, n_bytes; /* n_bytes: what travels, padding included */
};

/*
 * A load of n_tok tokens in whole blocks of the layout, or of block_tok tokens if it has none of
 * its own; share: what one rank takes of K and V (kvs_model_kv_share). The first is one layer,
 * the second all layers at once. The last block counts as whole. Latent KV has no V: kv_together.
 */
struct kvs_pieces kvs_layout_layer(const struct kvs_layout *layout, const struct kvs_model *model,
                                   uint32_t layer, double n_tok, uint32_t block_tok, double share);
struct kvs_pieces kvs_layout_bulk(const struct kvs_layout *layout, const struct kvs_model *model,
                                  double n_tok, uint32_t block_tok, double share);

#endif
