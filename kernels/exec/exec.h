/*
 * exec.h - runs a plan (sim/plan/plan.h): the staircase that was planned is the work that is done,
 * and every stage of it is timed.
 *
 * Layers pass four stages, each in their order: read (store/reader.h, on a thread of its own),
 * decode (another thread, into pinned rows), copy into the device's cache (a stream) and compute
 * (another). The compute stream does first what waits for no load: the recomputed tokens, the first
 * ones. Then the waiting work layer by layer: new tokens and repairs, each layer behind an event of
 * its copy. Where all cached tokens are recomputed the new ones ride in their batch. A layer's
 * stored form may be its hidden states (HCache): they are copied, and K and V projected from them
 * by the compute stream, at the tokens' positions here.
 *
 * Whatever goes wrong with a load (a block that is not held, a read that fails or never ends, a
 * broken section, a disk that hangs) or on the device, the plan is given up and the whole prompt is
 * computed; the result says so. The logits are right or there are none.
 */
#ifndef KVS_EXEC_H
#define KVS_EXEC_H

#include "../forward.h"
#include "../store/reader.h"
#include "plan/plan.h"

struct kvs_exec; /* from kvs_exec_new, ended by kvs_exec_free */

struct kvs_exec_opt {
    size_t window_bytes;          /* most pinned memory that loads may take; 0: 1 GiB */
    struct kvs_reader_opt reader; /* depth 0: 64; pool is the executor's */
    int64_t latency_ns; /* the path's own before its first byte, besides what the store takes */
    const struct kvs_kvf_isa *isa; /* of the decoder; NULL: the fastest */
};

/* A stored block of the prompt, at slots first_tok to first_tok + n_tok - 1 of the cache. */
struct kvs_exec_block {
    uint32_t first_tok, n_tok;
    int32_t shift; /* its position here less the one that it was computed at; moves its keys */
    bool moved;    /* computed behind other text: repaired, where the plan says so */
    /* [n_form] of the forms it is held in, K and V or hidden states; NULL inside: not held */
    struct kvs_stored *const *form;
};

/*
 * Slot j is position j. Tokens of no block are absent and computed in every layer; the last one is.
 * In layer l blocks below cut[l] are computed again, which never grows with l; the others are
 * loaded in form[l]. Of moved blocks that are loaded in every layer that loads any, the first
 * repair_tok[l] tokens, which never grow either, are computed again once the layer is there. No
 * absent token may stand before a block that is computed again, unless all are.
 */
struct kvs_exec_plan {
    const uint32_t *tok;
    uint32_t n_tok;
    const struct kvs_exec_block *block; /* ascending */
    uint32_t n_block, n_form;
    const uint32_t *cut;        /* [n_layer] */
    const uint8_t *form;        /* [n_layer] */
    const uint32_t *repair_tok; /* [n_layer], or NULL: none */
};

enum kvs_exec_stage {
    KVS_EXEC_READ,
    KVS_EXEC_DECODE,
    KVS_EXEC_COPY,
    KVS_EXEC_PRE,
    KVS_EXEC_POST,
    KVS_EXEC_HEAD,
    KVS_EXEC_N_STAGE
};

/* What one stage did for one layer; from the run's begin. Never run: both 0. */
struct kvs_exec_time {
    int64_t from_ns, to_ns;
};

struct kvs_exec_result {
    int64_t ttft_ns; /* from the begin, with all memory there, to the logits on the host */
    /* by stage and layer; PRE of the batch that new tokens ride in too; HEAD in layer 0 */
    struct kvs_exec_time time[KVS_EXEC_N_STAGE][KVS_MAX_LAYER];
    uint64_t load_bytes;    /* read, as stored; also for a plan that was given up */
    size_t pinned_bytes;    /* that the loads' window took */
    uint32_t n_window_wait; /* layers whose reads waited for room in it: then it was too small */
    bool fell_back;         /* the plan was given up */
    char why[512];          /* it was */
    char how[96];           /* the reader's */
};

/* The model runs on forward, whose cache must be of KVS_BF16; one run at a time. */
KVS_MUST_CHECK enum kvs_code kvs_exec_new(struct kvs_dev *dev, struct kvs_forward *forward,
                                          const struct kvs_exec_opt *opt, struct kvs_exec **exec,
                                          struct kvs_err *err);
void kvs_exec_free(struct kvs_exec *exec); /* accepts NULL */

/*
 * Runs a plan. store: whose blocks they are; not used by others meanwhile; NULL if nothing is
 * loaded. logits: f32[n_vocab] of the last token. KVS_ERR_RANGE if the plan is none (a staircase
 * that grows, tokens outside) or does not fit the window, with the bytes it needs; then nothing was
 * run. KVS_ERR_DEVICE, _NOMEM: not even the fall-back could be computed.
 */
KVS_MUST_CHECK enum kvs_code kvs_exec_run(struct kvs_exec *exec, struct kvs_store *store,
                                          const struct kvs_exec_plan *plan, float *logits,
                                          struct kvs_exec_result *result, struct kvs_err *err);

#endif
