#include "profile.h"

#include "base/outfile.h"
#include "base/units.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA_VERSION "1.0.0"

/* --- fits ---------------------------------------------------------------------------------------
 */

/* Streams of mixed directions, several jobs or beside others follow another law; buffered and
 * sequential reads meet the read-ahead of somebody's cache. */
static bool fits_model(const struct kvs_point *p)
{
    const char *pattern = kvs_point_param(p, "pattern");
    return p->status == KVS_MEASURED_OK && p->n_repeat > 0 && p->size_bytes > 0 &&
           strncmp(p->probe, "prefill.", 8) != 0 && strncmp(p->probe, "codec.", 6) != 0 &&
           (strncmp(p->probe, "memory.", 7) != 0 || strcmp(p->probe, "memory.gather") == 0) &&
           strcmp(p->probe, "storage.mix") != 0 && strcmp(pattern, "seq") != 0 && p->jobs <= 1 &&
           !kvs_point_param(p, "ring")[0] && !kvs_point_param(p, "beside")[0] &&
           strcmp(p->probe, "copy.gds") != 0;
}

static struct kvs_obs to_obs(const struct kvs_point *p)
{
    double each = (double)p->size_bytes * (p->n_descriptor ? (double)p->n_descriptor : 1);
    struct kvs_obs obs = {
        (double)p->size_bytes, p->depth ? (double)p->depth : 1, (double)p->n_descriptor, 0, {0}};
    for (unsigned i = 0; i < p->n_repeat; i++)
        if (p->repeat[i].bytes_per_s > 0)
            obs.s[obs.n++] = each / p->repeat[i].bytes_per_s;
    return obs;
}

static bool same_fit(const struct kvs_point *p, const struct kvs_point *q)
{
    return strcmp(p->probe, q->probe) == 0 && strcmp(p->target, q->target) == 0 &&
           strcmp(p->source, q->source) == 0 &&
           strcmp(kvs_point_param(p, "transport"), kvs_point_param(q, "transport")) == 0 &&
           strcmp(kvs_point_param(p, "wait"), kvs_point_param(q, "wait")) == 0 &&
           strcmp(kvs_point_param(p, "host"), kvs_point_param(q, "host")) == 0;
}

enum kvs_code kvs_profile_fits(const struct kvs_points *points, uint64_t seed,
                               struct kvs_named_fit fits[KVS_MAX_FIT], unsigned *n,
                               struct kvs_err *err)
{
    struct kvs_obs *obs = calloc(points->n + 1, sizeof *obs);
    bool *used = calloc(points->n + 1, sizeof *used);
    enum kvs_code code = KVS_OK;
    *n = 0;
    if (!obs || !used) {
        code = kvs_nomem(err);
        goto done;
    }
    for (size_t i = 0; i < points->n && *n < KVS_MAX_FIT && !code; i++) {
        struct kvs_named_fit *fit = &fits[*n];
        unsigned n_obs = 0;
        if (used[i] || !fits_model(points->v[i]))
            continue;
        memset(fit, 0, sizeof *fit);
        for (size_t k = i; k < points->n; k++) {
            const struct kvs_point *p = points->v[k];
            if (used[k] || !fits_model(p) || !same_fit(points->v[i], p))
                continue;
            used[k] = true;
            obs[n_obs] = to_obs(p);
            if (obs[n_obs].n == 0)
                continue;
            n_obs++;
            fit->noisy |= p->noisy;
        }
        if (n_obs < 2)
            continue;
        snprintf(fit->probe, sizeof fit->probe, "%s", points->v[i]->probe);
        const char *transport = kvs_point_param(points->v[i], "transport");
        const char *wait = kvs_point_param(points->v[i], "wait");
        snprintf(fit->target, sizeof fit->target, "%.24s%s%.12s%s%.6s", points->v[i]->target,
                 transport[0] ? " " : "", transport, wait[0] ? " " : "", wait);
        code = kvs_fit_link(obs, n_obs, seed, &fit->fit, err);
        ++*n;
    }
done:
    free(obs);
    free(used);
    return code;
}

static json_t *param_json(const struct kvs_param *p)
{
    if (!p->known)
        return json_pack("{so ss}", "value", json_null(), "why", p->why);
    return json_pack("{sf s[ff]}", "value", p->value, "ci95", p->ci95[0], p->ci95[1]);
}

static json_t *fit_json(const struct kvs_named_fit *f)
{
    double knee = kvs_link_fit_knee(&f->fit, f->fit.bytes_min);
    return json_pack(
        "{ss ss ss s{so so so} sf sf so s{s[ff] s[ff]} sI}", "probe", f->probe, "target", f->target,
        "model", "max(descriptor + b / rate, (latency + b / rate) / depth)", "params", "latency_s",
        param_json(&f->fit.latency_s), "descriptor_s", param_json(&f->fit.descriptor_s),
        "bytes_per_s", param_json(&f->fit.bytes_per_s), "residual_frac", f->fit.residual_frac,
        "worst_frac", f->fit.worst_frac, "knee_depth_smallest",
        knee > 0 ? json_real(knee) : json_null(), "valid_range", "size_bytes", f->fit.bytes_min,
        f->fit.bytes_max, "depth", f->fit.depth_min, f->fit.depth_max, "n_point",
        (json_int_t)f->fit.n_obs);
}

/* --- figures ------------------------------------------------------------------------------------
 */

static json_t *figure(double value, double rel_error, const char *ref)
{
    rel_error = isfinite(rel_error) ? fmin(fabs(rel_error), 10) : 10;
    return json_pack("{sf ss ss sf}", "value", value, "source", "measured", "ref", ref, "rel_error",
                     rel_error);
}

static json_t *param_figure(const struct kvs_param *p, const struct kvs_named_fit *f)
{
    char ref[160];
    if (!p->known)
        return json_null();
    /* a noisy machine: at least a quarter of doubt */
    double error = kvs_param_error(p, f->fit.residual_frac);
    snprintf(ref, sizeof ref, "kvprobe %s %s, fit of %u points, residual %.1f %%%s", f->probe,
             f->target, f->fit.n_obs, 100 * f->fit.residual_frac, f->noisy ? ", noisy" : "");
    return figure(p->value, f->noisy ? fmax(error, 0.25) : error, ref);
}

static const struct kvs_named_fit *find_fit(const struct kvs_named_fit *fits, unsigned n,
                                            const char *probe)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(fits[i].probe, probe) == 0 && fits[i].fit.bytes_per_s.known)
            return &fits[i];
    return NULL;
}

/* The fastest median among a probe's points; NULL: none. */
static const struct kvs_point *best_point(const struct kvs_points *points, const char *probe)
{
    const struct kvs_point *best = NULL;
    for (size_t i = 0; i < points->n; i++) {
        const struct kvs_point *p = points->v[i];
        if (p->status == KVS_MEASURED_OK && p->n_repeat && strcmp(p->probe, probe) == 0 &&
            (!best || p->rate.median > best->rate.median))
            best = p;
    }
    return best;
}

static double spread(const struct kvs_summary *s, bool noisy)
{
    double error = (s->ci95[1] - s->ci95[0]) / 2 / s->median;
    return noisy ? fmax(error, (s->max - s->min) / 2 / s->median) : error;
}

static json_t *rate_figure(const struct kvs_point *p)
{
    char title[96], ref[160];
    if (!p)
        return json_null();
    snprintf(ref, sizeof ref, "kvprobe %s, median of %u%s", kvs_point_title(p, title, sizeof title),
             p->n_repeat, p->noisy ? ", noisy" : "");
    return figure(p->rate.median, spread(&p->rate, p->noisy), ref);
}

static json_t *link_json(const char *name, const char *scope, json_t *read, json_t *write,
                         json_t *latency, json_t *descriptor)
{
    return json_pack("{ss ss so so so so}", "name", name, "scope", scope, "read_bytes_per_s", read,
                     "write_bytes_per_s", write, "latency_s", latency, "descriptor_s", descriptor);
}

/* Host memory: payload copied by all threads, a dependent load, and what a gathered piece costs. */
static json_t *dram_link(const struct kvs_points *points, const struct kvs_named_fit *gather)
{
    const struct kvs_point *copy = best_point(points, "memory.copy");
    const struct kvs_point *lat = best_point(points, "memory.latency");
    json_t *latency = json_null(), *piece = json_null();
    if (!copy)
        return NULL;
    if (lat && lat->p50.n) {
        json_decref(latency);
        latency = figure(lat->p50.median / 1e9, spread(&lat->p50, lat->noisy),
                         "kvprobe memory.latency, a chase of dependent loads");
    }
    if (gather) {
        json_decref(piece);
        piece = param_figure(&gather->fit.latency_s, gather);
    }
    return link_json("dram", "host", rate_figure(copy), rate_figure(copy), latency, piece);
}

static bool is_complete(json_t *link)
{
    static const char *const keys[] = {"read_bytes_per_s", "write_bytes_per_s", "latency_s",
                                       "descriptor_s"};
    for (size_t i = 0; link && i < sizeof keys / sizeof *keys; i++)
        if (!json_is_object(json_object_get(link, keys[i])))
            return false;
    return link != NULL;
}

/* A link from the fits of reading and writing; a direction that was not measured is null. */
static json_t *fitted_link(const char *name, const char *scope, const struct kvs_named_fit *read,
                           const struct kvs_named_fit *write, const struct kvs_points *points,
                           const char *write_probe)
{
    if (!read)
        return NULL;
    json_t *down = write ? param_figure(&write->fit.bytes_per_s, write)
                         : rate_figure(best_point(points, write_probe));
    return link_json(name, scope, param_figure(&read->fit.bytes_per_s, read), down,
                     param_figure(&read->fit.latency_s, read),
                     param_figure(&read->fit.descriptor_s, read));
}

/* Loopback and shared memory are no network: their fits stay in the record. */
static const struct kvs_named_fit *find_network(const struct kvs_named_fit *fits, unsigned n)
{
    const struct kvs_named_fit *best = NULL;
    for (unsigned i = 0; i < n; i++)
        if (strncmp(fits[i].probe, "network.", 8) == 0 && fits[i].fit.bytes_per_s.known &&
            strncmp(fits[i].target, "127.", 4) != 0 && strncmp(fits[i].target, "::1", 3) != 0 &&
            strncmp(fits[i].target, "localhost", 9) != 0 && !strstr(fits[i].target, " shm") &&
            (!best || fits[i].fit.bytes_per_s.value > best->fit.bytes_per_s.value))
            best = &fits[i];
    return best;
}

static void append_tier(json_t *tiers, const char *name, const char *scope, double bytes,
                        const char *ref, const char *const *route, json_t *links)
{
    json_t *hops = json_array();
    size_t i;
    json_t *link;
    for (; *route; route++)
        json_array_foreach(links, i, link)
        {
            if (strcmp(json_string_value(json_object_get(link, "name")), *route) == 0 &&
                is_complete(link))
                json_array_append_new(hops, json_string(*route));
        }
    json_array_append_new(
        tiers, json_pack("{ss ss so so}", "name", name, "scope", scope, "capacity_bytes",
                         bytes > 0 ? figure(bytes, 0, ref) : json_null(), "route", hops));
}

static bool has_link(json_t *links, const char *name)
{
    size_t i;
    json_t *link;
    json_array_foreach(links, i, link)
    {
        if (strcmp(json_string_value(json_object_get(link, "name")), name) == 0)
            return is_complete(link);
    }
    return false;
}

static json_t *tiers_json(const struct kvs_profile *profile, json_t *links)
{
    static const char *const dram[] = {"dram", "pcie", NULL};
    static const char *const nvme[] = {"nvme", "dram", "pcie", NULL};
    static const char *const remote[] = {"nic", "dram", "pcie", NULL};
    json_t *tiers = json_array();
    if (has_link(links, "dram"))
        append_tier(tiers, "dram", "host", profile->mem_bytes, "memory of this host", dram, links);
    if (has_link(links, "nvme"))
        append_tier(tiers, "nvme", "host", profile->disk_bytes, "free space of the disk measured",
                    nvme, links);
    if (has_link(links, "nic"))
        append_tier(tiers, "remote", "cluster", 0, "", remote, links);
    return tiers;
}

/* A link that was not measured is left out. */
static void append_known(json_t *array, json_t *item)
{
    if (item)
        json_array_append_new(array, item);
}

/* A part of the record may not be lost: out of memory makes the whole fail. */
static void append(json_t *array, json_t *item, bool *bad)
{
    *bad |= json_array_append_new(array, item) != 0;
}

/* Was the disk one, or memory in disguise? */
static bool is_real_disk(const struct kvs_points *points)
{
    for (size_t i = 0; i < points->n; i++) {
        const char *path = kvs_point_param(points->v[i], "path");
        if (strncmp(points->v[i]->probe, "storage.", 8) == 0 &&
            (strcmp(path, "tmpfs") == 0 || strcmp(path, "loop") == 0 ||
             strcmp(path, "buffered") == 0))
            return false;
    }
    return true;
}

static json_t *links_json(const struct kvs_points *points, const struct kvs_named_fit *fits,
                          unsigned n)
{
    json_t *links = json_array();
    const struct kvs_named_fit *read = find_fit(fits, n, "storage.kv");
    if (!read || !read->fit.descriptor_s.known)
        read = find_fit(fits, n, "storage.read");
    append_known(links, dram_link(points, find_fit(fits, n, "memory.gather")));
    if (is_real_disk(points))
        append_known(links, fitted_link("nvme", "host", read, find_fit(fits, n, "storage.write"),
                                        points, "storage.write"));
    append_known(links, fitted_link("nic", "host", find_network(fits, n), find_network(fits, n),
                                    points, ""));
    append_known(links, fitted_link("pcie", "gpu", find_fit(fits, n, "copy.h2d"),
                                    find_fit(fits, n, "copy.d2h"), points, "copy.d2h"));
    return links;
}

json_t *kvs_profile_json(const struct kvs_profile *p)
{
    struct kvs_named_fit *fits = calloc(KVS_MAX_FIT, sizeof *fits);
    json_t *points = json_array(), *fits_array = json_array(), *json = NULL;
    unsigned n = 0;
    bool bad = false;
    if (!fits || kvs_profile_fits(p->points, p->seed, fits, &n, NULL)) {
        json_decref(points);
        json_decref(fits_array);
        free(fits);
        return NULL;
    }
    for (size_t i = 0; i < p->points->n; i++)
        append(points, kvs_point_json(p->points->v[i]), &bad);
    for (unsigned i = 0; i < n; i++)
        append(fits_array, fit_json(&fits[i]), &bad);
    json_t *links = links_json(p->points, fits, n), *tiers = tiers_json(p, links);
    json = json_pack("{ss ss ss ss sI sO? sO* so so s{ss sI} sO? sO? sO? so so}", "schema",
                     "kvsim.profile", "schema_version", SCHEMA_VERSION, "name", p->name, "about",
                     p->about, "gpus_per_host", (json_int_t)p->gpus_per_host, "gpu", p->gpu,
                     "compute", p->compute, "links", links, "tiers", tiers, "kvprobe", "version",
                     KVS_VERSION, "protocol", (json_int_t)1, "run", p->run, "env", p->env,
                     "topology", p->topology, "points", points, "fits", fits_array);
    free(fits);
    if (bad) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* --- files --------------------------------------------------------------------------------------
 */

enum kvs_code kvs_profile_write(json_t *json, const char *path, struct kvs_err *err)
{
    size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(12);
    struct kvs_outfile *out;

    if (strcmp(path, "-") == 0) {
        if (json_dumpf(json, stdout, flags) != 0 || putchar('\n') == EOF || fflush(stdout) != 0)
            return kvs_fail(err, KVS_ERR_IO, "standard output: %s", strerror(errno));
        return KVS_OK;
    }
    enum kvs_code code = kvs_outfile_begin(path, &out, err);
    if (code)
        return code;
    FILE *stream = kvs_outfile_stream(out);
    if (json_dumpf(json, stream, flags) != 0 && !ferror(stream)) {
        kvs_outfile_abort(out);
        return kvs_nomem(err);
    }
    (void)fputc('\n', stream); /* commit finds the stream's errors */
    return kvs_outfile_commit(out, err);
}

enum kvs_code kvs_profile_points(const struct kvs_doc *doc, struct kvs_points *points,
                                 struct kvs_err *err)
{
    struct kvs_json root = kvs_doc_root(doc), array = kvs_json_get(root, "points");
    const char *schema, *version;
    enum kvs_code code;
    if ((code = kvs_json_object(root, err)) ||
        (code = kvs_json_str(kvs_json_get(root, "schema"), &schema, err)) ||
        (code = kvs_json_str(kvs_json_get(root, "schema_version"), &version, err)))
        return code;
    if (strcmp(schema, "kvsim.profile") != 0)
        return kvs_json_want(kvs_json_get(root, "schema"), err, KVS_ERR_PARSE, "kvsim.profile");
    if (strncmp(version, "1.", 2) != 0)
        return kvs_json_fail(kvs_json_get(root, "schema_version"), err, KVS_ERR_PARSE,
                             "found \"%s\", this kvprobe reads 1.x", version);
    if (!array.v)
        return KVS_OK;
    if ((code = kvs_json_array(array, err)))
        return code;
    for (size_t i = 0; i < kvs_json_size(array) && !code; i++)
        code = kvs_point_read(kvs_json_at(array, i), points, err);
    return code;
}

enum kvs_code kvs_profile_open(const char *path, struct kvs_doc **doc, struct kvs_points *points,
                               struct kvs_err *err)
{
    memset(points, 0, sizeof *points);
    enum kvs_code code = kvs_doc_open(path, doc, err);
    if (!code)
        code = kvs_profile_points(*doc, points, err);
    if (code) {
        kvs_points_free(points);
        kvs_doc_free(*doc);
        *doc = NULL;
    }
    return code;
}
