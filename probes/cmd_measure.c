/* kvprobe [all|topology|memory|storage|network|copy|prefill|codec|quality]: measures, and writes
 * the profile. */
#include "cmd.h"

#include "base/opt.h"
#include "base/units.h"
#include "profile.h"
#include "section.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static const char *const engines[] = {"auto", "io_uring", "threads", NULL};

#define AT(field) offsetof(struct kvs_probe_options, field)
static const struct kvs_opt table[] = {
    {"quick", KVS_OPT_FLAG, AT(quick), NULL, 0, 0, "everything under a minute (the default)", NULL,
     false, 0},
    {"standard", KVS_OPT_FLAG, AT(standard), NULL, 0, 0, "some minutes", NULL, false, 0},
    {"full", KVS_OPT_FLAG, AT(full), NULL, 0, 0, "hours", NULL, false, 0},
    {"out", KVS_OPT_STR, AT(out), NULL, 0, 0, "profile to write; - is standard output", NULL, false,
     'o'},
    {"json", KVS_OPT_FLAG, AT(json), NULL, 0, 0, "the profile on standard output, no tables", NULL,
     false, 0},
    {"dir", KVS_OPT_STR, AT(dir), ".", 0, 0, "folder of the storage test file", NULL, false, 0},
    {"size", KVS_OPT_BYTES, AT(file_bytes), "512MiB", 8 << 20, 1e15, "of the storage test file",
     NULL, false, 0},
    {"target", KVS_OPT_STR, AT(target), NULL, 0, 0, "read this file or block device instead", NULL,
     false, 0},
    {"destroy", KVS_OPT_FLAG, AT(destroy), NULL, 0, 0,
     "write to --target, a block device, too: its data are lost", NULL, false, 0},
    {"buffered", KVS_OPT_FLAG, AT(buffered), NULL, 0, 0, "storage through the page cache", NULL,
     false, 0},
    {"engine", KVS_OPT_ENUM, AT(engine), "auto", 0, 0, "of storage", engines, false, 0},
    {"peer", KVS_OPT_STR, AT(peer), NULL, 0, 0,
     "host running kvprobe serve; none: loopback, by a server of our own", NULL, false, 0},
    {"port", KVS_OPT_U64, AT(port), "18515", 1, 65535, "of the peer", NULL, false, 0},
    {"device", KVS_OPT_STR, AT(device), NULL, 0, 0,
     "that computes: cpu, cuda, simt, ref; none: cuda where there is one, else cpu", NULL, false,
     0},
    {"model", KVS_OPT_STR, AT(model), NULL, 0, 0,
     "weights to compute with, or a shape of configs/models; none: SmolLM2-135M", NULL, false, 0},
    {"tokens", KVS_OPT_STR, AT(tokens), NULL, 0, 0,
     "texts to score levels on, token numbers, one a line; none: the model draws its own", NULL,
     false, 0},
    {"seed", KVS_OPT_U64, AT(seed), "1", 0, 0, "of orders, places and resampling", NULL, false, 0},
    {"name", KVS_OPT_STR, AT(name), NULL, 0, 0, "of the profile; none: a hash of the host", NULL,
     false, 0},
    {"topology-file", KVS_OPT_STR, AT(topology), NULL, 0, 0, "hwloc XML in place of this machine's",
     NULL, false, 0},
    {"vendor-libs", KVS_OPT_STR, AT(libs), NULL, 0, 0,
     "folder of the vendor's libraries; none: where the system has them", NULL, false, 0},
};
#define N_OPT ((unsigned)(sizeof table / sizeof *table))

/* Options that not all sections have a use for; --dir is also what a profile tells the room of. */
enum { STORAGE = 1, NETWORK = 2, COPY = 4, PREFILL = 8, CODEC = 16, QUALITY = 32 };
static const struct {
    const char *name;
    unsigned bit;
} takers[] = {{"storage", STORAGE}, {"network", NETWORK}, {"copy", COPY},
              {"prefill", PREFILL}, {"codec", CODEC},     {"quality", QUALITY}};
static const struct {
    const char *key;
    unsigned taken;
} uses[] = {{"size", STORAGE | COPY},
            {"target", STORAGE | COPY},
            {"destroy", STORAGE},
            {"buffered", STORAGE | COPY},
            {"engine", STORAGE | COPY},
            {"peer", NETWORK | COPY},
            {"port", NETWORK | COPY},
            {"device", PREFILL | CODEC | QUALITY},
            {"model", PREFILL | CODEC | QUALITY},
            {"tokens", QUALITY},
            {"vendor-libs", COPY}};
enum { N_TAKER = sizeof takers / sizeof *takers, N_USE = sizeof uses / sizeof *uses };

/* The options that a section, or all, has no use for, NULL-ended. */
static void unused_by(const char *which, const char *keys[N_USE + 1])
{
    unsigned bit = 0, n = 0;

    for (int i = 0; i < N_TAKER; i++)
        if (strcmp(which, "all") == 0 || strcmp(which, takers[i].name) == 0)
            bit |= takers[i].bit;
    for (int i = 0; i < N_USE; i++)
        if (!(uses[i].taken & bit))
            keys[n++] = uses[i].key;
    keys[n] = NULL;
}

static void print_help(const char *which)
{
    const char *unused[N_USE + 1];
    struct kvs_opt used[N_OPT];
    unsigned n = 0;

    unused_by(which, unused);
    for (unsigned i = 0; i < N_OPT; i++) {
        const char *const *key = unused;
        while (*key && strcmp(*key, table[i].key) != 0)
            key++;
        if (!*key)
            used[n++] = table[i];
    }
    kvs_opt_help(
        stdout,
        "kvprobe [all|topology|memory|storage|network|copy|prefill|codec|quality] [OPTION]...\n"
        "       kvprobe serve|show|compare|merge|import --help",
        "Measures this machine and writes a hardware profile for kvsim.", used, n);
}

static void utc(char *buf, size_t room)
{
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(buf, room, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* --- progress -----------------------------------------------------------------------------------
 */

static void show_progress(void *self, const struct kvs_point *next, unsigned n_done, unsigned n_run,
                          double left_s)
{
    /* the hooks' first member is the machine, which lies in the run */
    const struct kvs_probe_run *r =
        (const struct kvs_probe_run *)((const char *)self -
                                       offsetof(struct kvs_probe_run, machine));
    char title[96];
    fprintf(stderr, "\r\033[K%s %3u%%, %.0f s left: %s", r->section,
            n_run ? 100 * (n_done < n_run ? n_done : n_run) / n_run : 100, left_s,
            kvs_point_title(next, title, sizeof title));
    fflush(stderr);
}

void kvs_probe_end_progress(const struct kvs_probe_run *r)
{
    if (r->tty)
        fputs("\r\033[K", stderr);
}

/* --- the profile --------------------------------------------------------------------------------
 */

static double disk_capacity(const struct kvs_probe_options *opt)
{
    struct statvfs fs;
    if (opt->target || statvfs(opt->dir, &fs) != 0)
        return 0;
    return (double)fs.f_bavail * (double)fs.f_frsize;
}

static json_t *profile_json(struct kvs_probe_run *r)
{
    char ended[32];
    json_t *args = json_array(), *run;
    unsigned n_gpu = 0;
    double mem = 0;
    static const char *const levels[] = {"quick", "standard", "full"};
    utc(ended, sizeof ended);
    for (int i = 0; i < r->argc; i++)
        json_array_append_new(args, json_string(r->argv[i]));
    for (unsigned i = 0; r->topology && i < r->topology->n_dev; i++)
        n_gpu += r->topology->dev[i].kind == KVS_DEV_GPU;
    for (unsigned i = 0; r->topology && i < r->topology->n_numa; i++)
        mem += r->topology->mem_bytes[i];
    run = json_pack("{ss ss so ss sI sb sO? sO? sO?}", "started_utc", r->started, "ended_utc",
                    ended, "argv", args, "level", levels[r->level], "seed", (json_int_t)r->opt.seed,
                    "complete", r->complete, "storage", r->storage, "network", r->network,
                    "devices", r->devices);
    n_gpu = n_gpu || !r->gpu ? n_gpu : 1; /* the processor stands for one */
    struct kvs_profile profile = {.name = r->name,
                                  .about = r->complete
                                               ? "measured by kvprobe"
                                               : "measured by kvprobe; PARTIAL: stopped early",
                                  .gpus_per_host = n_gpu,
                                  .mem_bytes = mem,
                                  .disk_bytes = disk_capacity(&r->opt),
                                  .run = run,
                                  .env = r->env,
                                  .topology = r->topology_json,
                                  .gpu = r->gpu,
                                  .compute = r->compute,
                                  .points = &r->points,
                                  .seed = r->opt.seed};
    json_t *json = kvs_profile_json(&profile);
    json_decref(run);
    return json;
}

/* Codec and quality are files of their own: here.json has here.codec.json beside it. */
static enum kvs_code save_beside(json_t *json, const char *path, const char *kind,
                                 struct kvs_err *err)
{
    size_t n = strlen(path), n_stem = n > 5 && strcmp(path + n - 5, ".json") == 0 ? n - 5 : n;
    char *file = NULL;
    if (!json)
        return KVS_OK;
    if (asprintf(&file, "%.*s.%s.json", (int)n_stem, path, kind) < 0)
        return kvs_nomem(err);
    enum kvs_code code = kvs_profile_write(json, file, err);
    free(file);
    return code;
}

static enum kvs_code save(struct kvs_probe_run *r, const char *path, struct kvs_err *err)
{
    json_t *json = profile_json(r);
    if (!json)
        return kvs_nomem(err);
    enum kvs_code code = kvs_profile_write(json, path, err);
    json_decref(json);
    if (!code && strcmp(path, "-") != 0 && !(code = save_beside(r->codec, path, "codec", err)))
        code = save_beside(r->quality, path, "quality", err);
    return code;
}

/* --- the command --------------------------------------------------------------------------------
 */

static void print_points(const struct kvs_probe_run *r)
{
    char title[128], rate[KVS_TEXT_MAX], p50[KVS_TEXT_MAX], p99[KVS_TEXT_MAX];
    for (size_t i = 0; i < r->points.n; i++) {
        const struct kvs_point *p = r->points.v[i];
        kvs_point_title(p, title, sizeof title);
        if (p->status != KVS_MEASURED_OK || !p->n_repeat) {
            printf("%-56s %s\n", title, p->reason[0] ? p->reason : "not measured");
            continue;
        }
        printf("%-56s %12s", title, kvs_text_rate(rate, p->rate.median));
        if (p->p50.n)
            printf("  p50 %9s  p99 %9s", kvs_text_time(p50, p->p50.median / 1e9),
                   kvs_text_time(p99, p->p99.median / 1e9));
        printf("%s%s%s\n", p->steady ? "" : "  UNSTEADY", p->noisy ? "  NOISY" : "",
               p->suspect ? "  SUSPECT" : "");
    }
}

static enum kvs_code run_sections(struct kvs_probe_run *r, const char *which, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    bool all = strcmp(which, "all") == 0;
    for (size_t i = 0; i < KVS_N_SECTION && !code && !kvs_probe_stop; i++) {
        /* the topology is always read: it is quick, and sizes and labels need it */
        if (!all && i > 0 && strcmp(which, kvs_sections[i].name) != 0)
            continue;
        snprintf(r->section, sizeof r->section, "%s", kvs_sections[i].name);
        code = kvs_sections[i].measure(r, err);
        if (!code && r->opt.out && strcmp(r->opt.out, "-") != 0)
            code = save(r, r->opt.out, err); /* a kill from outside leaves what is done */
    }
    r->complete = !code && !kvs_probe_stop;
    return code;
}

static enum kvs_code set_up(struct kvs_probe_run *r, struct kvs_err *err)
{
    const struct kvs_probe_options *opt = &r->opt;
    if (opt->quick + opt->standard + opt->full > 1)
        return kvs_fail(err, KVS_ERR_ARG, "--quick, --standard, --full: want one of them");
    if (access(opt->dir, F_OK) != 0)
        return kvs_fail(err, KVS_ERR_ARG, "--dir: %s: %s", opt->dir, strerror(errno));
    if (opt->destroy && !opt->target)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--destroy: wants a --target, the block device to destroy");
    r->level = opt->full ? KVS_FULL : opt->standard ? KVS_STANDARD : KVS_QUICK;
    r->effort = kvs_grid_effort(r->level, opt->seed);
    r->hooks = kvs_machine_hooks(&r->machine, &kvs_probe_stop);
    r->tty = isatty(STDERR_FILENO) == 1;
    if (r->tty)
        r->hooks.progress = show_progress;
    utc(r->started, sizeof r->started);
    if (opt->name)
        snprintf(r->name, sizeof r->name, "%s", opt->name);
    else
        kvs_profile_host_name(r->name, sizeof r->name);
    r->env = kvs_profile_env(opt->dir);
    return KVS_OK;
}

static enum kvs_code check_section(const char *which, struct kvs_err *err)
{
    static const char *const names[] = {"all",  "topology", "memory", "storage", "network",
                                        "copy", "prefill",  "codec",  "quality", "serve",
                                        "show", "compare",  "merge",  "import"};
    char known[256];
    if (strcmp(which, "all") == 0)
        return KVS_OK;
    for (size_t i = 0; i < KVS_N_SECTION; i++)
        if (strcmp(which, kvs_sections[i].name) == 0)
            return KVS_OK;
    return kvs_fail(err, KVS_ERR_ARG, "\"%s\": no such command%s", which,
                    kvs_known(known, sizeof known, which, names, sizeof names / sizeof *names));
}

enum kvs_code kvs_cmd_measure(int argc, char **argv, struct kvs_err *err)
{
    struct kvs_probe_run *r = calloc(1, sizeof *r);
    struct kvs_strs pos = {0, {NULL}};
    const char *unused[N_USE + 1];
    char why[80];
    bool help = false;
    if (!r)
        return kvs_nomem(err);
    r->argc = argc;
    r->argv = argv;
    enum kvs_code code = kvs_opt_argv(table, N_OPT, argc, argv, &r->opt, &pos, &help, err);
    const char *which = pos.n ? pos.v[0] : "all";
    if (!code && help) {
        print_help(which);
        goto done;
    }
    if (!code && pos.n > 1)
        code = kvs_fail(err, KVS_ERR_ARG, "\"%s\": one section at a time, or all", pos.v[1]);
    if (!code)
        code = check_section(which, err);
    if (!code) {
        snprintf(why, sizeof why, "has no meaning for %s; see kvprobe %s --help", which, which);
        unused_by(which, unused);
        code = kvs_opt_refuse(table, N_OPT, argc, argv, unused, why, err);
    }
    if (!code)
        code = set_up(r, err);
    if (!code)
        code = run_sections(r, which, err);
    if (!code && r->opt.out)
        code = save(r, r->opt.out, err);
    if (!code && r->opt.json)
        code = save(r, "-", err);
    else if (!code && !(r->opt.out && strcmp(r->opt.out, "-") == 0))
        print_points(r);
    if (!code && !r->complete)
        fprintf(stderr, "kvprobe: stopped early; the profile is partial and says so\n");
done:
    free(r->topology);
    json_decref(r->topology_json);
    json_decref(r->env);
    json_decref(r->storage);
    json_decref(r->network);
    json_decref(r->devices);
    json_decref(r->gpu);
    json_decref(r->compute);
    json_decref(r->codec);
    json_decref(r->quality);
    kvs_subject_close(&r->subject);
    kvs_points_free(&r->points);
    free(r);
    return code;
}
