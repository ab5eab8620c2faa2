/*
 * opt.h - option tables: one row an option, for JSON objects and for command lines alike.
 *
 * Parsing, range checks, JSON keys, --help and the settings recorded in each result are made from
 * one table. An unknown key or option is an error that names the nearest known one.
 */
#ifndef KVS_BASE_OPT_H
#define KVS_BASE_OPT_H

#include "json.h"

#include <stdio.h>

enum kvs_opt_type {
    KVS_OPT_FLAG,   /* bool; on a command line: --key, no value */
    KVS_OPT_U64,    /* uint64_t */
    KVS_OPT_DOUBLE, /* double */
    KVS_OPT_BYTES,  /* uint64_t, units.h */
    KVS_OPT_TOK,    /* uint64_t, units.h */
    KVS_OPT_RATE,   /* double, bytes per second */
    KVS_OPT_TIME,   /* double, seconds */
    KVS_OPT_STR,    /* const char *, borrowed from the document or argv; NULL if not given */
    KVS_OPT_ENUM,   /* int, an index of names */
    KVS_OPT_LIST,   /* struct kvs_strs; JSON: array of strings; command line: a,b,c (split where it
                       stands) or repeated; a default is one name */
    KVS_OPT_MANY,   /* struct kvs_strs; JSON: as LIST; command line: repeated, each value whole,
                       commas and all; no default */
    KVS_OPT_NODE,   /* struct kvs_json as it stands (an object or array read by its own table); JSON
                       only */
};

struct kvs_strs {
    unsigned n;
    const char *v[64];
};

/*
 * def: as a user would type it; NULL: required (or, for STR, LIST and NODE: may be absent; see
 * required; a FLAG of a command line is then false). min and max count in the base unit; a max of
 * 2^63 or more is none.
 */
struct kvs_opt {
    const char *key;
    enum kvs_opt_type type;
    size_t offset;            /* of the field in the caller's struct */
    const char *def;          /* default, NULL: none */
    double min, max;          /* inclusive; both 0: any */
    const char *help;         /* one line, with unit */
    const char *const *names; /* KVS_OPT_ENUM: NULL-ended */
    bool required;            /* absent is an error */
    char letter;              /* command line: short form, 0: none */
};

/*
 * Reads object into *out by the table: every field is set, to the key's value or its default. Wrong
 * type, unit, range, name, an unknown or a missing key: "FILE: PATH: found ..., want ...". A node
 * that is absent as a whole counts as an empty object.
 */
KVS_MUST_CHECK enum kvs_code kvs_opt_json(const struct kvs_opt *table, unsigned n,
                                          struct kvs_json object, void *out, struct kvs_err *err);

/*
 * Reads argv[1..argc) into *out: --key value, --key=value, -k value, flags; "--" ends options. What
 * is no option is positional and lands in pos (NULL: none allowed). --help and -h set *help and end
 * the parse. The last of a repeated option counts. Every failure is KVS_ERR_ARG, which main prints
 * behind the subcommand's name: "--sed: unknown option; did you mean --seed?".
 */
KVS_MUST_CHECK enum kvs_code kvs_opt_argv(const struct kvs_opt *table, unsigned n, int argc,
                                          char *const *argv, void *out, struct kvs_strs *pos,
                                          bool *help, struct kvs_err *err);

/*
 * Of options that mean nothing beside others: the first of keys (NULL-ended) that stands in argv
 * is KVS_ERR_ARG, "--KEY: WHY". To be called when kvs_opt_argv has read the same argv.
 */
KVS_MUST_CHECK enum kvs_code kvs_opt_refuse(const struct kvs_opt *table, unsigned n, int argc,
                                            char *const *argv, const char *const *keys,
                                            const char *why, struct kvs_err *err);

/* Usage line, then one aligned line an option with default and range. */
void kvs_opt_help(FILE *to, const char *usage, const char *about, const struct kvs_opt *table,
                  unsigned n);

/* The settings of *in as a JSON object in table order (units spelled as bare SI numbers). NULL: no
 * memory. */
json_t *kvs_opt_record(const struct kvs_opt *table, unsigned n, const void *in);

#endif
