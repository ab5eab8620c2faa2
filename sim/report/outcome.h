/*
 * outcome.h - the figures of one policy's run: what table, summary and figures are made from.
 *
 * Percentiles are nearest rank over the requests that ran; refused ones count in n_refused only.
 * Seconds are doubles; a figure over no request is NaN (JSON: null, table: "-").
 */
#ifndef KVS_OUTCOME_H
#define KVS_OUTCOME_H

#include "collect.h"
#include "steady.h"

struct kvs_spread {
    double mean, p50, p90, p95, p99, max;
};

/* What a TTFT is made of, in the order in which it is drawn. */
enum kvs_ttft_part {
    KVS_TTFT_QUEUE,   /* waiting for the GPU or for room in HBM */
    KVS_TTFT_LOAD,    /* waiting for stored KV */
    KVS_TTFT_DECODE,  /* the share of its own steps spent on other sequences */
    KVS_TTFT_COMPUTE, /* its own prefill */
    KVS_N_TTFT_PART
};
extern const char *const kvs_ttft_part_name[KVS_N_TTFT_PART];

#define KVS_N_QUANTILE 1001 /* of TTFT, for its distribution: shares 0, 0.001, ... 1 */

/* What is to be known of the trace that was replayed. */
struct kvs_trace_note {
    char format[32];
    bool chained;
    uint64_t skipped, moved; /* lines left out; requests moved to an earlier one's time */
    char invents[200];       /* what the reader made up where the trace has nothing; "": nothing */
};

/* Which of the first requests count for no figure of requests. */
enum kvs_cut { KVS_CUT_NONE, KVS_CUT_REQUESTS, KVS_CUT_TIME, KVS_CUT_AUTO };
struct kvs_warmup { /* zeroed: none */
    enum kvs_cut cut;
    uint64_t n_request; /* KVS_CUT_REQUESTS */
    double time_s;      /* KVS_CUT_TIME: those that arrive within it from the first on */
};

/* Of the whole run; NaN where there is nothing to divide by. */
struct kvs_outcome_tier {
    double hit_tok_frac, hit_byte_frac; /* of all input tokens, and of the KV of them */
    double unused_write_frac;           /* of what was stored: left or lies there without one hit */
    /* of one such tier; a tier of several drives counts as one */
    double stored_bytes_per_day, drive_writes_per_day;
};

struct kvs_outcome {
    const char *policy;
    struct kvs_trace_note trace;
    struct kvs_sim_result sim;
    uint64_t n_warmup; /* of the first requests, left out of the figures of requests below */
    uint64_t n_mser5;  /* as many would KVS_CUT_AUTO leave out */
    bool has_mser5;    /* false: the run is too short to tell */
    struct kvs_ttft_intervals ttft_ci; /* 95 % */
    struct kvs_interval goodput_ci;
    uint64_t n_run; /* requests that ran */
    uint64_t n_in_slo;
    struct kvs_spread ttft_s; /* arrival to first token */
    struct kvs_spread tpot_s; /* requests of two and more output tokens */
    struct kvs_spread e2e_s;  /* arrival to last token */
    double part_mean_s[KVS_N_TTFT_PART];
    /* mean over the requests whose TTFT lies from the 94th to the 96th percentile: they sum to
     * about p95 */
    double part_p95_s[KVS_N_TTFT_PART];
    double span_s;        /* first arrival to last token */
    double counted_s;     /* the same from the first request after the warm-up */
    double offered_per_s; /* arrivals, from the first to the last; NaN if all came at once */
    double goodput_per_s, throughput_per_s, in_slo_frac;
    double gpu_busy_frac, gpu_stall_frac, gpu_prefill_frac,
        gpu_decode_frac;   /* of replicas * span */
    uint32_t busiest_link; /* index in sim.link; UINT32_MAX: none moved anything */
    double busiest_frac;
    double load_bytes, write_bytes; /* all tiers */
    struct kvs_outcome_tier tier[KVS_MAX_TIER];
    double first_hit_frac; /* of the input tokens: held when first admitted */
    double final_hit_frac; /* not computed in the end: held, less what was computed all the same */
    double predicted_loss_nats; /* mean over the requests that ran */
    double predicted_error; /* mean of |TTFT - what the plan predicted| / TTFT, planned requests */
    double ttft_quantile_s[KVS_N_QUANTILE];
    uint32_t loaded_new_tok; /* median of new_tok over requests that had a plan; 0: none had one */
    struct kvs_collect collect; /* plans, spans, first rows; owned */
};

/*
 * From sorted rows; takes collect over (and zeroes it) on success. The warm-up is left out of
 * latencies, goodput and throughput; totals of tokens, bytes and busy time are the whole run's.
 * KVS_ERR_NOMEM.
 */
KVS_MUST_CHECK enum kvs_code kvs_outcome_make(const char *policy, const struct kvs_sim_result *sim,
                                              const struct kvs_warmup *warmup,
                                              struct kvs_collect *collect,
                                              struct kvs_outcome *outcome, struct kvs_err *err);
void kvs_outcome_free(struct kvs_outcome *outcome); /* accepts a zeroed one */

/* Share of the time that a link was occupied, over its instances. */
double kvs_outcome_link_frac(const struct kvs_outcome *outcome, uint32_t link_i);
/* The outcome called "recompute", what speed-ups are over; NULL if it was not compared. */
const struct kvs_outcome *kvs_outcome_baseline(const struct kvs_outcome *outcome, uint32_t n);
const char *kvs_verdict_name(enum kvs_verdict verdict);

#endif
