/*
 * gen.h - RAG traffic made from a seed: a trace that needs no file.
 *
 * Sessions arrive; each has turns with think times; a turn is a request whose prompt is system
 * prompt, retrieved passages, history, web results and the user's question, as in RAGPulse. With
 * its default options a trace has the statistics of RAGPulse's first week (its lengths, how often
 * passages and beginnings come again, how popular the top ones are); workloads/README.md holds both
 * side by side.
 *
 * What is retrieved: a session asks about a topic (Zipf over topics); a topic has a ranked list of
 * candidate passages; a request takes some of them, drawn one after another with weights that fall
 * with rank, and now and then a stray one from the whole corpus. So related questions share
 * passages, often in another order. Drift: topics leave and fresh ones take their rank.
 */
#ifndef KVS_GEN_H
#define KVS_GEN_H

#include "base/opt.h"
#include "trace.h"

enum kvs_gen_lengths { KVS_GEN_MEASURED, KVS_GEN_LOGNORMAL, KVS_GEN_FIXED };

struct kvs_gen_options {
    uint64_t n_request;
    double rate_per_s;  /* requests per second, all sessions together */
    double burst;       /* coefficient of variation of the gaps between sessions */
    uint64_t n_corpus;  /* passages */
    uint64_t n_passage; /* per request that retrieves */
    uint64_t n_topic, n_candidate;
    double topic_skew;          /* Zipf exponent */
    double passage_skew;        /* Zipf exponent of a topic's candidates over the corpus */
    double rank_decay;          /* weight of candidate i: exp(-rank_decay * i) */
    double stray_frac;          /* passages from anywhere */
    double drift_per_day;       /* share of topics replaced in a day */
    double turns;               /* mean of a session's turns, geometric */
    double think_s;             /* median between a session's turns; lognormal */
    double stay_frac;           /* a later turn keeps its topic */
    double stock_frac;          /* questions asked in a topic's own words */
    uint64_t history_turns;     /* past turns that a prompt holds */
    double chat_frac, web_frac; /* requests without retrieval; with web results as well */
    uint64_t fresh_tok;         /* of the system prompt, before the passages: no two are alike */
    uint64_t prompts_per_day;   /* versions of the dated system prompt */
    int lengths;                /* enum kvs_gen_lengths */
    double passage_tok, output_tok, user_tok, web_tok; /* means */
};

/* One row an option: JSON keys of trace.generate and options of `kvsim trace generate`. */
extern const struct kvs_opt kvs_gen_table[];
extern const unsigned kvs_gen_n_opt;

/* KVS_ERR_RANGE if options contradict each other (more passages than candidates, ...). */
KVS_MUST_CHECK enum kvs_code kvs_gen_open(const struct kvs_gen_options *options, uint64_t seed,
                                          struct kvs_trace **trace, struct kvs_err *err);

#endif
