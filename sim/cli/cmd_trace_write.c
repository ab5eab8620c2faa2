/*
 * kvsim trace generate, kvsim trace convert: traces into files.
 */
#include "cmd_trace.h"
#include "signals.h"

#include "base/opt.h"
#include "base/units.h"
#include "workloads/gen.h"
#include "workloads/trace_filter.h"
#include "workloads/trace_write.h"

#include <stdio.h>
#include <string.h>

/* Says on standard error what was written, unless it went to standard output. */
static void say_written(const char *path, uint64_t n_request)
{
    char count[KVS_TEXT_MAX];
    if (strcmp(path, "-") != 0)
        fprintf(stderr, "%s: %s requests\n", path, kvs_text_count(count, n_request));
}

/* --- generate ------------------------------------------------------------------------------------
 */

struct generate_args {
    struct kvs_gen_options gen; /* first: kvs_gen_table's offsets are of it */
    const char *output, *format;
    uint64_t seed;
};

#define OPT(name, kind, field, by_default, least, most, text)                                      \
    .key = (name), .type = KVS_OPT_##kind, .offset = offsetof(struct generate_args, field),        \
    .def = (by_default), .min = (least), .max = (most), .help = (text)
static const struct kvs_opt generate_own[] = {
    {OPT("out", STR, output, "-", 0, 0, "file to write; -: standard output"), .letter = 'o'},
    {OPT("to", STR, format, NULL, 0, 0, "its format; told by the file's name if not given")},
    {OPT("seed", U64, seed, "1", 0, 0, "another seed makes another trace of the same kind")},
};
#undef OPT
enum { N_GENERATE_OWN = sizeof generate_own / sizeof generate_own[0], MAX_OPTION = 64 };

static enum kvs_code generate(const struct generate_args *args, struct kvs_err *err)
{
    struct kvs_trace *trace;
    uint64_t n_request;
    enum kvs_code code = kvs_gen_open(&args->gen, args->seed, &trace, err);
    if (code)
        return code;
    kvs_catch_signals();
    code = kvs_trace_copy(trace, args->output, args->format, kvs_interrupted, &n_request, err);
    kvs_trace_close(trace);
    if (code == KVS_OK)
        say_written(args->output, n_request);
    return code;
}

enum kvs_code kvs_trace_generate_cmd(int argc, char *const *argv, struct kvs_err *err)
{
    struct kvs_opt table[MAX_OPTION];
    struct generate_args args = {0};
    unsigned n = 0;
    bool help;
    enum kvs_code code;
    for (unsigned i = 0; i < N_GENERATE_OWN; i++)
        table[n++] = generate_own[i];
    for (unsigned i = 0; i < kvs_gen_n_opt && n < MAX_OPTION; i++)
        table[n++] = kvs_gen_table[i];
    code = kvs_opt_argv(table, n, argc, argv, &args, NULL, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "kvsim trace generate [options]",
                     "Makes RAG traffic from a seed; its defaults have RAGPulse's statistics.",
                     table, n);
        return KVS_OK;
    }
    return generate(&args, err);
}

/* --- convert -------------------------------------------------------------------------------------
 */

struct convert_args {
    const char *format, *to;
    bool skip_bad;
    double chars_per_tok;
    struct kvs_trace_filter filter;
};

#define OPT(name, kind, field, by_default, least, most, text)                                      \
    .key = (name), .type = KVS_OPT_##kind, .offset = offsetof(struct convert_args, field),         \
    .def = (by_default), .min = (least), .max = (most), .help = (text)
static const struct kvs_opt convert_table[] = {
    {OPT("format", STR, format, NULL, 0, 0, "IN's format; told by the file if not given")},
    {OPT("to", STR, to, NULL, 0, 0, "OUT's format; told by its name if not given")},
    {OPT("skip-bad", FLAG, skip_bad, NULL, 0, 0, "leave bad lines out")},
    {OPT("chars-per-tok", DOUBLE, chars_per_tok, "0", 0, 1e6,
         "for traces that count characters; 0: the format's own ratio")},
    {OPT("limit", U64, filter.limit, "0", 0, 0x1p63, "only the first so many requests; 0: all")},
    {OPT("rate", DOUBLE, filter.rate, "1", 1e-9, 1e9, "how much faster requests come")},
    {OPT("population", U64, filter.population, "1", 1, 1e6,
         "groups of people, each with questions and passages of its own")},
};
#undef OPT
enum { N_CONVERT = sizeof convert_table / sizeof convert_table[0] };

static enum kvs_code convert(const struct convert_args *args, const char *in, const char *to,
                             struct kvs_err *err)
{
    const struct kvs_trace_options options = {
        .format = args->format, .skip_bad = args->skip_bad, .chars_per_tok = args->chars_per_tok};
    struct kvs_trace *source, *trace;
    uint64_t n_request;
    enum kvs_code code = kvs_trace_open(in, &options, &source, err);
    if (code || (code = kvs_trace_filtered(source, &args->filter, &trace, err)))
        return code;
    kvs_catch_signals();
    code = kvs_trace_copy(trace, to, args->to, kvs_interrupted, &n_request, err);
    if (code == KVS_OK) {
        say_written(to, n_request);
        if (kvs_trace_skipped(trace))
            fprintf(stderr, "%s: %llu bad lines left out\n", in,
                    (unsigned long long)kvs_trace_skipped(trace));
    }
    kvs_trace_close(trace);
    return code;
}

enum kvs_code kvs_trace_convert_cmd(int argc, char *const *argv, struct kvs_err *err)
{
    struct convert_args args = {0};
    struct kvs_strs pos;
    bool help;
    enum kvs_code code =
        kvs_opt_argv(convert_table, N_CONVERT, argc, argv, &args, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "kvsim trace convert IN OUT [options]",
                     "Writes a trace as kvsim's JSON lines, .kvt or .oracleGeneral.", convert_table,
                     N_CONVERT);
        return KVS_OK;
    }
    if (pos.n != 2)
        return kvs_fail(err, KVS_ERR_ARG, "found %u files, want IN and OUT", pos.n);
    return convert(&args, pos.v[0], pos.v[1], err);
}
