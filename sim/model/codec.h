/*
 * codec.h - compression levels of stored KV: bits an element and rates, each with its source.
 *
 * A codec is a file of configs/codec (format: configs/README.md). Level "raw16" is in every codec
 * and in none of the files: 16 bits, nothing to encode or decode. K and V are stored apart, each at
 * a level of its own. Rates are bytes of raw 16-bit KV per second of one decoder or encoder: a
 * host's thread, or a GPU.
 */
#ifndef KVS_CODEC_H
#define KVS_CODEC_H

#include "figure.h"

#define KVS_CODEC_RAW_BITS 16.0
#define KVS_MAX_CODEC_LEVEL 32
#define KVS_CODEC_RAW "raw16"
#define KVS_CODEC_BLOCK_TOK 256 /* of a section, where no one says; bits are measured in such */

enum kvs_decoder {
    KVS_DECODER_HOST, /* threads beside the GPU: a stage of its own */
    KVS_DECODER_GPU   /* the compute engine: decoding delays computing */
};

struct kvs_codec_level {
    const char *name;
    bool lossless;
    struct kvs_figure k_bits, v_bits; /* an element as stored, with all else of its section but the
                                         padding (kvs_codec_section_bytes) */
    struct kvs_figure encode_bytes_per_s, decode_bytes_per_s; /* not known: no one measured it */
    struct kvs_figure channel_bytes; /* of k_bits and v_bits, what each section has once a channel:
                                        less a token in long blocks, more in short ones; not
                                        known: nothing */
    struct kvs_figure section_s; /* decoding a section of K or of V, besides; not known: nothing */
};

struct kvs_codec {
    const char *name, *about;
    enum kvs_decoder decoder;
    uint32_t n_level;
    struct kvs_codec_level level[KVS_MAX_CODEC_LEVEL]; /* level[0] is raw16 */
    struct kvs_doc *doc;                               /* what the strings are borrowed from */
};

KVS_MUST_CHECK enum kvs_code kvs_codec_open(const char *name_or_file, struct kvs_codec **codec,
                                            struct kvs_err *err);
/* The same from a document, which it takes, also when it fails. */
KVS_MUST_CHECK enum kvs_code kvs_codec_from(struct kvs_doc *doc, struct kvs_codec **codec,
                                            struct kvs_err *err);
void kvs_codec_free(struct kvs_codec *codec); /* accepts NULL */
/* Bytes that a section takes, K or V of n_tok tokens of a layer: whole pages of 4 KiB, so that it
 * can be read by itself (kernels/codec/format.h). */
#define KVS_CODEC_PAGE 4096
double kvs_codec_section_bytes(const struct kvs_codec_level *level, bool value, double n_tok,
                               double n_chan);
/* Index of a level by name; -1: none. */
int kvs_codec_level(const struct kvs_codec *codec, const char *name);

#endif
