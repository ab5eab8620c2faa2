/*
 * store.h - KV blocks kept outside the device: files in a folder, or values of a Redis server.
 *
 * A block is a codec file (codec/codec.h) of one block: block_tok tokens of all layers. Its key is
 * a hash of the model and of the tokens up to the block's end; a tag tells apart the forms in which
 * one block is held ("raw16", "p4", a mix). In a folder it lies at XX/KEY.TAG.kvf, XX being the
 * key's first two digits, and is written under a hidden name, synced and renamed: a killed writer
 * leaves a whole block or none, and readers need no lock. In Redis it is one value, set at once.
 *
 * A store and what comes from it belong to one thread; any number of stores, here and in other
 * processes, may be open on one place. A block that another has dropped can still be read through
 * what kvs_store_find returned (in a folder), or its reads fail (in Redis). reader.h reads layers
 * while other work goes on.
 */
#ifndef KVS_STORE_STORE_H
#define KVS_STORE_STORE_H

#include "../codec/codec.h"

enum {
    KVS_STORE_PAGE = 4096, /* reads begin and end at multiples of it, in memory too */
    KVS_TAG_MAX = 24,      /* with the final 0 */
};

struct kvs_store;  /* from kvs_store_open, ended by kvs_store_close */
struct kvs_stored; /* a block that is held; from kvs_store_find, ended by kvs_stored_close */

/* --- names -----------------------------------------------------------------------------------
 */

struct kvs_block_key {
    uint64_t word[2];
};

/*
 * Keys of the n_block whole blocks at the beginning of a prompt: key[i] is a hash of the model and
 * of tokens 0 to (i + 1) * block_tok - 1, so an equal key means an equal prefix and place.
 */
void kvs_block_keys(const uint64_t model_hash[2], const uint32_t *tok, uint32_t block_tok,
                    uint32_t n_block, struct kvs_block_key *key);

/* The tag of levels, [n_layer * 2]: the level's name if all are one, else "mix-" and a hash. */
void kvs_store_tag(const uint8_t *level, uint32_t n_layer, char tag[KVS_TAG_MAX]);
/* Lower-case letters, digits, '.', '-', at least one and not first a '.' or '-'. */
bool kvs_tag_ok(const char *tag);
/* "KEY.TAG", 32 lower-case hex digits and a tag. */
bool kvs_block_parse(const char *text, struct kvs_block_key *key, char tag[KVS_TAG_MAX]);

/* --- a store ---------------------------------------------------------------------------------
 */

struct kvs_store_opt {
    bool make;          /* a folder that is not there is made */
    int64_t timeout_ns; /* of a Redis server's answer; 0: 5 s */
};

/*
 * place: a folder, or "redis:HOST:PORT", "redis:/PATH/OF/SOCKET". opt: NULL for none. Opening a
 * folder removes what killed writers left. KVS_ERR_ABSENT without hiredis; KVS_ERR_IO with the
 * reason if the place can't be reached.
 */
KVS_MUST_CHECK enum kvs_code kvs_store_open(const char *place, const struct kvs_store_opt *opt,
                                            struct kvs_store **store, struct kvs_err *err);
void kvs_store_close(struct kvs_store *store); /* after its blocks and readers; accepts NULL */
const char *kvs_store_place(const struct kvs_store *store);

/*
 * Stores a codec file of one block whose prefix_hash is key (else KVS_ERR_ARG); whole or not at
 * all, even if the power fails. A block that is there stays, and *there (or NULL) says so.
 * KVS_ERR_IO: a full disk or the like; then nothing of it is left.
 */
KVS_MUST_CHECK enum kvs_code kvs_store_put(struct kvs_store *store, struct kvs_block_key key,
                                           const char *tag, const uint8_t *file, size_t n_byte,
                                           bool *there, struct kvs_err *err);
/*
 * A block and its parsed head. Not held: KVS_OK and *block NULL. KVS_ERR_PARSE: held, but its head
 * is broken or it is another block's; KVS_ERR_IO: it can't be read.
 */
KVS_MUST_CHECK enum kvs_code kvs_store_find(struct kvs_store *store, struct kvs_block_key key,
                                            const char *tag, struct kvs_stored **block,
                                            struct kvs_err *err);
/* Gone when this returns; no error if it was not held. */
KVS_MUST_CHECK enum kvs_code kvs_store_drop(struct kvs_store *store, struct kvs_block_key key,
                                            const char *tag, struct kvs_err *err);

struct kvs_store_entry {
    struct kvs_block_key key;
    char tag[KVS_TAG_MAX];
    uint64_t n_byte;
};
/* All blocks held, by key and then tag; the caller's to free. */
KVS_MUST_CHECK enum kvs_code kvs_store_list(struct kvs_store *store, struct kvs_store_entry **entry,
                                            size_t *n, struct kvs_err *err);
/* Reads a block whole and decodes every section, checksums first: the first fault, by its name.
 * KVS_ERR_ABSENT: not held. */
KVS_MUST_CHECK enum kvs_code kvs_store_verify(struct kvs_store *store, struct kvs_block_key key,
                                              const char *tag, struct kvs_err *err);

/* --- a block that is held ---------------------------------------------------------------------
 */

void kvs_stored_close(struct kvs_stored *block);                      /* accepts NULL */
const struct kvs_kvf *kvs_stored_kvf(const struct kvs_stored *block); /* checks before decoding */
const char *kvs_stored_name(const struct kvs_stored *block); /* file or value, for messages */
/*
 * Where sections first to first + n - 1 lie, n at least 1, whole pages: what to read. Sections of a
 * block are numbered layer * 2 + kv, so a layer is (2 * layer, 2), its K (2 * layer, 1).
 */
void kvs_stored_range(const struct kvs_stored *block, uint32_t first, uint32_t n,
                      uint64_t *at_bytes, size_t *n_byte);
/* Those sections, read now, into memory that the caller frees; reader.h reads while other work goes
 * on. */
KVS_MUST_CHECK enum kvs_code kvs_stored_read(const struct kvs_stored *block, uint32_t first,
                                             uint32_t n, uint8_t **bytes, struct kvs_err *err);

#endif
