#include "sweep.h"

#include "base/data.h"
#include "journal.h"
#include "point.h"
#include "report/workload.h"
#include "results.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct sweep {
    const struct kvs_spec *spec;
    const struct kvs_sweep_options *options;
    struct kvs_point_job job;
    struct kvs_journal *journal;
    struct kvs_sweep_count *count;
    uint64_t next; /* the first point not yet looked at */
};

/* --- what makes it this sweep ------------------------------------------------------------------
 */

static uint64_t mix(uint64_t hash, const char *text)
{
    return XXH3_64bits_withSeed(text, strlen(text), hash);
}

/* The bytes of a file that a point names; a name that leads nowhere counts as itself. */
static uint64_t mix_file(uint64_t hash, const char *folder, const char *base, const json_t *name)
{
    const char *text = json_string_value(name);
    char *path = NULL, *bytes = NULL, *from = NULL;
    size_t n = 0;
    if (!text)
        return hash;
    const bool is_path = strchr(text, '/') || strstr(text, ".json");
    from = is_path ? kvs_path_from(base, text) : strdup(text);
    FILE *file =
        from && !kvs_data_find("file", folder, from, &path, NULL) ? fopen(path, "rb") : NULL;
    bytes = file ? calloc(1, 1 << 20) : NULL;
    if (bytes)
        n = fread(bytes, 1, 1 << 20, file);
    hash = bytes ? XXH3_64bits_withSeed(bytes, n, hash) : mix(hash, text);
    if (file)
        fclose(file);
    free(bytes);
    free(path);
    free(from);
    return hash;
}

/* The planner's codec and quality table, or the table that has the model's name. */
static uint64_t mix_levels(uint64_t hash, const char *base, const json_t *root)
{
    const json_t *planner = json_object_get(root, "planner");
    const json_t *name = json_object_get(planner, "quality");
    const char *text = json_string_value(name);
    hash = mix_file(hash, "configs/codec", base, json_object_get(planner, "codec"));
    return mix_file(hash, "configs/quality", base,
                    text && *text ? name : json_object_get(root, "model"));
}

/*
 * Looks at every point's document: counts the traces, and hashes what the points' results depend
 * on. Wrong points are left to their own run.
 */
static enum kvs_code look_ahead(const struct kvs_spec *spec, struct kvs_traces *traces,
                                uint64_t *hash, struct kvs_err *err)
{
    *hash = mix(0, KVS_VERSION);
    for (uint64_t i = 0; i < spec->n_point; i++) {
        struct kvs_doc *doc = NULL;
        enum kvs_code code = kvs_point_document(spec, i, &doc, NULL);
        if (code == KVS_ERR_NOMEM)
            return kvs_nomem(err);
        if (code)
            continue;
        const json_t *root = kvs_doc_root(doc).v;
        char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
        if (text) {
            *hash = mix(*hash, text);
            *hash = mix_file(*hash, "configs/models", kvs_doc_file(doc),
                             json_object_get(root, "model"));
            *hash = mix_file(*hash, "configs/hardware", kvs_doc_file(doc),
                             json_object_get(root, "hardware"));
            *hash = mix_levels(*hash, kvs_doc_file(doc), root);
        }
        code = text ? kvs_traces_count(traces, doc, err) : kvs_nomem(err);
        free(text);
        kvs_doc_free(doc);
        if (code)
            return code;
    }
    enum kvs_code code = kvs_traces_load(traces, err);
    const uint64_t of_traces = kvs_traces_hash(traces);
    *hash = XXH3_64bits_withSeed(&of_traces, sizeof of_traces, *hash);
    return code;
}

/* A setting that no workload knows would fail every point: told before anything is written. */
static enum kvs_code check_first(const struct kvs_spec *spec, struct kvs_err *err)
{
    struct kvs_strs sets;
    struct kvs_workload *workload = NULL;
    struct kvs_err inner = {0};
    kvs_spec_sets(spec, 0, &sets);
    enum kvs_code code = kvs_workload_open(spec->workload, &sets, &workload, &inner);
    kvs_workload_free(workload);
    if (code == KVS_OK || code == KVS_ERR_RANGE) /* a machine may be too small for one point */
        return KVS_OK;
    return kvs_fail(err, code, "the first point: %s", inner.msg);
}

/* --- dealing out -------------------------------------------------------------------------------
 */

static bool next_point(void *ctx, uint64_t *item)
{
    struct sweep *sweep = ctx;
    for (; sweep->next < sweep->spec->n_point; sweep->next++)
        if (sweep->next % sweep->options->shard_n == sweep->options->shard_i &&
            !kvs_journal_has(sweep->journal, sweep->next)) {
            *item = sweep->next++;
            return true;
        }
    return false;
}

static char *work(void *ctx, uint64_t item)
{
    const struct sweep *sweep = ctx;
    return kvs_point_run(&sweep->job, item);
}

static enum kvs_code done(void *ctx, uint64_t item, const char *text, const char *reason,
                          struct kvs_err *err)
{
    struct sweep *sweep = ctx;
    char *failed = text ? NULL : kvs_point_failed(sweep->spec, item, reason);
    const char *rows = text ? text : failed;
    enum kvs_code code = rows ? kvs_journal_add(sweep->journal, item, rows, err) : kvs_nomem(err);
    if (!code) {
        sweep->count->n_run++;
        sweep->count->n_failed += kvs_point_is_failed(sweep->spec, rows);
    }
    free(failed);
    return code;
}

static bool tick(void *ctx)
{
    const struct sweep *sweep = ctx;
    return sweep->options->progress && sweep->options->progress(sweep->options->ctx, sweep->count);
}

static struct kvs_farm farm_of(struct sweep *sweep)
{
    return (struct kvs_farm){
        .ctx = sweep, .next = next_point, .work = work, .done = done, .tick = tick};
}

/* --- the folder --------------------------------------------------------------------------------
 */

static enum kvs_code count_kept(struct sweep *sweep, struct kvs_err *err)
{
    struct kvs_sweep_count *count = sweep->count;
    for (uint64_t i = sweep->options->shard_i; i < sweep->spec->n_point;
         i += sweep->options->shard_n) {
        char *rows;
        enum kvs_code code;
        count->n_point++;
        if (!kvs_journal_has(sweep->journal, i))
            continue;
        if ((code = kvs_journal_get(sweep->journal, i, &rows, err)))
            return code;
        count->n_kept++;
        count->n_failed += kvs_point_is_failed(sweep->spec, rows);
        free(rows);
    }
    return KVS_OK;
}

static enum kvs_code run_points(struct sweep *sweep, struct kvs_err *err)
{
    const struct kvs_farm farm = farm_of(sweep);
    enum kvs_code code = count_kept(sweep, err);
    if (code)
        return code;
    if (sweep->options->deal) /* also where nothing is left: who works elsewhere must hear it */
        code = sweep->options->deal(sweep->options->deal_ctx, &farm, err);
    else if (sweep->count->n_kept < sweep->count->n_point)
        code = kvs_farm_local(&farm, sweep->options->n_job, err);
    enum kvs_code synced = kvs_journal_sync(sweep->journal, code ? NULL : err);
    return code ? code : synced;
}

enum kvs_code kvs_sweep_run(const struct kvs_spec *spec, const struct kvs_sweep_options *options,
                            struct kvs_sweep_count *count, struct kvs_err *err)
{
    struct sweep sweep = {.spec = spec, .options = options, .count = count, .job.spec = spec};
    struct kvs_journal_id id = {.n_point = spec->n_point};
    char *header = NULL, *path = NULL;
    enum kvs_code code;
    assert(options->shard_n > 0 && options->shard_i < options->shard_n);
    *count = (struct kvs_sweep_count){0};
    if ((code = check_first(spec, err)))
        return code;
    sweep.job.traces = kvs_traces_new();
    header = kvs_point_header(spec);
    id.header = header;
    if (!sweep.job.traces || !header)
        code = kvs_nomem(err);
    else if (!(code = look_ahead(spec, sweep.job.traces, &id.fingerprint, err)) &&
             !(code = kvs_results_folder(options->dir, options->shard_i, options->shard_n,
                                         options->overwrite, &path, err)) &&
             !(code = kvs_journal_open(path, &id, &sweep.journal, err)) &&
             !(code = run_points(&sweep, err)) && options->shard_n == 1) {
        code = kvs_results_write(options->dir, &sweep.journal, 1, err);
        count->complete = !code;
    }
    kvs_journal_close(sweep.journal);
    kvs_traces_free(sweep.job.traces);
    free(header);
    free(path);
    return code;
}

enum kvs_code kvs_sweep_help(const struct kvs_spec *spec,
                             enum kvs_code (*work_elsewhere)(void *ctx, const struct kvs_farm *farm,
                                                             struct kvs_err *err),
                             void *ctx, struct kvs_err *err)
{
    struct sweep sweep = {.spec = spec, .job = {spec, kvs_traces_new()}};
    const struct kvs_farm farm = farm_of(&sweep);
    uint64_t hash;
    enum kvs_code code =
        sweep.job.traces ? look_ahead(spec, sweep.job.traces, &hash, err) : kvs_nomem(err);
    if (!code)
        code = work_elsewhere(ctx, &farm, err);
    kvs_traces_free(sweep.job.traces);
    return code;
}

enum kvs_code kvs_sweep_merge(const struct kvs_strs *dirs, const char *out,
                              struct kvs_sweep_count *count, struct kvs_err *err)
{
    struct kvs_journal **journal = NULL;
    uint32_t n = 0;
    *count = (struct kvs_sweep_count){0};
    enum kvs_code code = kvs_results_journals(dirs, &journal, &n, err);
    if (!code) {
        count->n_point = count->n_kept = kvs_journal_id(journal[0]).n_point;
        code = kvs_results_write(out, journal, n, err);
        count->complete = !code;
    }
    for (uint32_t i = 0; i < n; i++)
        kvs_journal_close(journal[i]);
    free(journal);
    return code;
}
