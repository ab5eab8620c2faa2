/*
 * validate_trace.h - `kvsim validate trace`: a trace's requests on the simulator and on a device.
 *
 * A trace says which text is the same, not which text: its blocks become made-up tokens, equal ids
 * equal tokens, shortened to what the model and the machine can do. The prompts are then cut into
 * blocks of one size, known by the keys that the store gives them; simulator and store see the
 * same keys.
 */
#ifndef KVS_VALIDATE_TRACE_H
#define KVS_VALIDATE_TRACE_H

#include "kernels/exec/serve.h"
#include "report/workload.h"

struct kvs_vt_options {
    const char *weights, *device, *store, *out;
    struct kvs_strs sets;
    uint64_t requests, block_tok, seed, window_bytes;
    double scale;
    bool clock, throttle, json, overwrite;
};

struct kvs_vt_prompt {
    int64_t arrive_ns;       /* after the first's */
    uint32_t n_tok, n_block; /* blocks that are kept */
    uint32_t *tok;
};

/* What one side says of a request. */
struct kvs_vt_side {
    uint32_t hit_tok, recompute_tok; /* recomputed: mean over layers, of those that hit */
    int64_t ttft_ns;                 /* from its arrival */
    uint64_t load_bytes;
};

struct kvs_vt_row {
    struct kvs_vt_side simulated, measured;
    struct kvs_plan plan; /* of the simulator */
    int64_t run_ns;       /* of measured.ttft_ns, the executor's own */
    bool has_plan, fell_back;
};

struct kvs_vt {
    struct kvs_vt_options options;
    struct kvs_workload *workload;
    struct kvs_sim_config config; /* one request at a time, nothing kept in HBM */
    const char *policy;
    struct kvs_weights *weights;
    uint64_t model_hash[2];
    uint64_t block_bytes; /* raw, all layers */
    uint32_t n, max_tok;
    struct kvs_vt_prompt *prompt;                                                /* [n] */
    struct kvs_vt_row *row;                                                      /* [n] */
    uint64_t simulated_evict, measured_evict, measured_insert, simulated_insert; /* blocks */
    char how[96]; /* the store was read */
};

/* Reads workload and weights, checks that the one can be run on the other, makes the prompts. Ended
 * by kvs_vt_end, also when it failed. */
KVS_MUST_CHECK enum kvs_code kvs_vt_begin(const char *file, const struct kvs_vt_options *options,
                                          struct kvs_vt *vt, struct kvs_err *err);
void kvs_vt_end(struct kvs_vt *vt);
/* The simulator's side of all rows. */
KVS_MUST_CHECK enum kvs_code kvs_vt_simulate(struct kvs_vt *vt, struct kvs_err *err);
/* The other one, after it: the plans are the simulator's. A prompt of which the store holds not
 * what the simulator said loads all it finds. */
KVS_MUST_CHECK enum kvs_code kvs_vt_measure(struct kvs_vt *vt, struct kvs_err *err);

/* kvsim validate trace ...: argv[0] is "trace". */
KVS_MUST_CHECK enum kvs_code kvs_val_trace(int argc, char *const *argv, struct kvs_err *err);

#endif
