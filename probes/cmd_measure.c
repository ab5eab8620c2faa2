/* kvprobe [all|topology|memory|storage|network|copy]: measures, and writes the profile. */
#include "cmd.h"

#include "base/opt.h"
#include "base/units.h"
#include "copy.h"
#include "grid.h"
#include "memory.h"
#include "network.h"
#include "profile.h"
#include "storage.h"
#include "topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

struct options {
    bool quick, standard, full, json, buffered, destroy;
    const char *out, *dir, *target, *peer, *name, *topology;
    int engine;
    uint64_t file_bytes, port, seed;
};

static const char *const engines[] = {"auto", "io_uring", "threads", NULL};

#define AT(field) offsetof(struct options, field)
static const struct kvs_opt table[] = {
    {"quick", KVS_OPT_FLAG, AT(quick), NULL, 0, 0, "everything under a minute (the default)", NULL,
     false, 0},
    {"standard", KVS_OPT_FLAG, AT(standard), NULL, 0, 0, "some minutes", NULL, false, 0},
    {"full", KVS_OPT_FLAG, AT(full), NULL, 0, 0, "hours", NULL, false, 0},
    {"output", KVS_OPT_STR, AT(out), NULL, 0, 0, "profile to write; - is standard output", NULL,
     false, 'o'},
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
    {"seed", KVS_OPT_U64, AT(seed), "1", 0, 0, "of orders, places and resampling", NULL, false, 0},
    {"name", KVS_OPT_STR, AT(name), NULL, 0, 0, "of the profile; none: a hash of the host", NULL,
     false, 0},
    {"topology-file", KVS_OPT_STR, AT(topology), NULL, 0, 0, "hwloc XML in place of this machine's",
     NULL, false, 0},
};
#define N_OPT ((unsigned)(sizeof table / sizeof *table))

struct run {
    struct options opt;
    int argc;
    char **argv;
    enum kvs_grid_level level;
    struct kvs_effort effort;
    struct kvs_machine machine;
    struct kvs_hooks hooks;
    struct kvs_points points;
    struct kvs_topology *topology;
    json_t *topology_json, *env, *storage, *network, *devices;
    char name[64], section[16], started[32];
    bool complete, tty;
    double memory_rate; /* measured, as the ceiling of what passes through memory */
};

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
    const struct run *r = (const struct run *)((const char *)self - offsetof(struct run, machine));
    char title[96];
    fprintf(stderr, "\r\033[K%s %3u%%, %.0f s left: %s", r->section,
            n_run ? 100 * (n_done < n_run ? n_done : n_run) / n_run : 100, left_s,
            kvs_point_title(next, title, sizeof title));
    fflush(stderr);
}

static void end_progress(const struct run *r)
{
    if (r->tty)
        fputs("\r\033[K", stderr);
}

/* --- the profile --------------------------------------------------------------------------------
 */

static double disk_capacity(const struct options *opt)
{
    struct statvfs fs;
    if (opt->target || statvfs(opt->dir, &fs) != 0)
        return 0;
    return (double)fs.f_bavail * (double)fs.f_frsize;
}

static json_t *profile_json(struct run *r)
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
                                  .points = &r->points,
                                  .seed = r->opt.seed};
    json_t *json = kvs_profile_json(&profile);
    json_decref(run);
    return json;
}

static enum kvs_code save(struct run *r, const char *path, struct kvs_err *err)
{
    json_t *json = profile_json(r);
    if (!json)
        return kvs_nomem(err);
    enum kvs_code code = kvs_profile_write(json, path, err);
    json_decref(json);
    return code;
}

/* --- sections -----------------------------------------------------------------------------------
 */

static enum kvs_code measure(struct run *r, struct kvs_tasks *tasks, struct kvs_err *err)
{
    bool complete;
    for (unsigned i = 0; i < tasks->n && r->memory_rate > 0; i++)
        if (strncmp(tasks->v[i].point->probe, "memory.", 7) != 0)
            tasks->v[i].point->ceiling_bytes_per_s = r->memory_rate;
    enum kvs_code code = kvs_measure(tasks->v, tasks->n, &r->effort, &r->hooks, &complete, err);
    end_progress(r);
    return code;
}

/* A section that cannot even begin is one point that says why. */
static enum kvs_code absent(struct run *r, const char *probe, const char *target, enum kvs_code why,
                            const struct kvs_err *reason, struct kvs_err *err)
{
    if (why == KVS_ERR_NOMEM)
        return kvs_nomem(err);
    struct kvs_point *p = kvs_points_add(&r->points, probe, target);
    if (!p)
        return kvs_nomem(err);
    kvs_point_unavailable(p, why == KVS_ERR_ABSENT ? KVS_UNAVAILABLE : KVS_FAILED, reason->msg);
    return KVS_OK;
}

static enum kvs_code probe_topology(struct run *r, struct kvs_err *err)
{
    enum kvs_code code = kvs_topology_read(r->opt.topology, false, &r->topology, err);
    if (!code)
        r->topology_json = kvs_topology_json(r->topology);
    return code;
}

static enum kvs_code memory_pair(struct run *r, int from, int to, uint64_t n_byte,
                                 struct kvs_err *err)
{
    struct kvs_tasks tasks = {0, 0, NULL, &r->points};
    struct kvs_mem *mem = NULL;
    struct kvs_err own = {KVS_OK, ""};
    char target[KVS_NAME_MAX];
    if (from < 0)
        snprintf(target, sizeof target, "host");
    else
        snprintf(target, sizeof target, "node%d>node%d", from, to);
    enum kvs_code code = kvs_mem_open(n_byte, from, to, r->opt.seed, &kvs_probe_stop, &mem, &own);
    if (code)
        return absent(r, "memory.copy", target, KVS_ERR_ABSENT, &own, err);
    size_t first = r->points.n;
    if (!kvs_grid_memory(&tasks, r->level, r->hooks.n_core, target, mem, kvs_mem_run))
        code = kvs_nomem(err);
    else
        code = measure(r, &tasks, err);
    for (size_t i = first; i < r->points.n && !code; i++) {
        const struct kvs_point *p = r->points.v[i];
        if (strcmp(p->probe, "memory.copy") == 0 && p->n_repeat && p->rate.median > r->memory_rate)
            r->memory_rate = p->rate.median;
        if (r->topology && r->topology->cache_bytes * 4 > (double)n_byte &&
            !kvs_point_set(r->points.v[i], "in_cache", json_true()))
            code = kvs_nomem(err);
    }
    kvs_mem_close(mem);
    free(tasks.v);
    return code;
}

static enum kvs_code probe_memory(struct run *r, struct kvs_err *err)
{
    uint64_t n_byte = r->level == KVS_QUICK ? 192 << 20 : 1024 << 20;
    if (r->topology && r->topology->cache_bytes > 0 &&
        (double)n_byte < 4 * r->topology->cache_bytes)
        n_byte = (uint64_t)(4 * r->topology->cache_bytes);
    unsigned n_node = r->topology ? r->topology->n_numa : 1;
    enum kvs_code code = KVS_OK;
    if (n_node <= 1)
        return memory_pair(r, -1, -1, n_byte, err);
    for (unsigned from = 0; from < n_node && !code; from++)
        for (unsigned to = 0; to < n_node && !code && !kvs_probe_stop; to++)
            if (r->level != KVS_QUICK || from == 0)
                code = memory_pair(r, (int)from, (int)to, n_byte, err);
    return code;
}

static enum kvs_code probe_storage(struct run *r, struct kvs_err *err)
{
    struct kvs_tasks tasks = {0, 0, NULL, &r->points};
    struct kvs_disk_config config = {.dir = r->opt.dir,
                                     .target = r->opt.target,
                                     .destroy = r->opt.destroy,
                                     .buffered = r->opt.buffered,
                                     .file_bytes = r->opt.file_bytes,
                                     .engine = (enum kvs_disk_engine)r->opt.engine,
                                     .seed = r->opt.seed,
                                     .stop = &kvs_probe_stop};
    struct kvs_disk *disk = NULL;
    struct kvs_err own = {KVS_OK, ""};
    if (r->tty)
        fputs("storage: writing the test file", stderr);
    enum kvs_code code = kvs_disk_open(&config, &disk, &own);
    end_progress(r);
    if (code == KVS_ERR_ARG || code == KVS_ERR_RANGE)
        return kvs_fail(err, code, "%s", own.msg);
    if (code)
        return kvs_probe_stop ? KVS_OK : absent(r, "storage.read", "disk0", code, &own, err);
    json_t *before = kvs_disk_json(disk);
    const char *path = json_string_value(json_object_get(before, "path"));
    if (!kvs_grid_storage(&tasks, r->level, path ? path : "", kvs_disk_can_write(disk),
                          kvs_disk_bytes(disk), disk, kvs_disk_run))
        code = kvs_nomem(err);
    else
        code = measure(r, &tasks, err);
    json_decref(before);
    r->storage = kvs_disk_json(disk);
    kvs_disk_close(disk);
    free(tasks.v);
    return code;
}

static enum kvs_code probe_network(struct run *r, struct kvs_err *err)
{
    struct kvs_net_config config = {
        .peer = r->opt.peer, .port = (uint16_t)r->opt.port, .stop = &kvs_probe_stop};
    static const char *const transports[] = {"tcp", "tcp;ofi_rxm", "shm"};
    const char *target = r->opt.peer ? r->opt.peer : "127.0.0.1";
    enum kvs_code code = KVS_OK;
    for (size_t i = 0; i < sizeof transports / sizeof *transports && !code && !kvs_probe_stop;
         i++) {
        struct kvs_tasks tasks = {0, 0, NULL, &r->points};
        struct kvs_err own = {KVS_OK, ""};
        struct kvs_net *net = NULL;
        if (r->opt.peer && strcmp(transports[i], "shm") == 0)
            continue; /* one host only */
        config.transport = transports[i];
        enum kvs_code opened = kvs_net_open(&config, &net, &own);
        if (opened) {
            code = absent(r, "network.read", target, opened, &own, err);
            if (!code && !kvs_point_set(r->points.v[r->points.n - 1], "transport",
                                        json_string(transports[i])))
                code = kvs_nomem(err);
            continue;
        }
        if (!kvs_grid_network(&tasks, r->level, target, transports[i], kvs_net_wait(net), net,
                              kvs_net_run))
            code = kvs_nomem(err);
        else
            code = measure(r, &tasks, err);
        kvs_net_close(net);
        free(tasks.v);
    }
    return code;
}

static enum kvs_code probe_copy(struct run *r, struct kvs_err *err)
{
    struct kvs_tasks tasks = {0, 0, NULL, &r->points};
    struct kvs_err own = {KVS_OK, ""};
    struct kvs_copy *copy = NULL;
    r->devices = kvs_copy_backends();
    enum kvs_code code = kvs_copy_open(NULL, 0, &kvs_probe_stop, &copy, &own);
    if (code)
        return absent(r, "copy.h2d", "gpu0", code, &own, err);
    if (!kvs_grid_copy(&tasks, r->level, "gpu0", copy, kvs_copy_run))
        code = kvs_nomem(err);
    else
        code = measure(r, &tasks, err);
    kvs_copy_close(copy);
    free(tasks.v);
    return code;
}

/* --- the command --------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    enum kvs_code (*fn)(struct run *r, struct kvs_err *err);
} sections[] = {
    {"topology", probe_topology}, {"memory", probe_memory}, {"storage", probe_storage},
    {"network", probe_network},   {"copy", probe_copy},
};
#define N_SECTION (sizeof sections / sizeof *sections)

static void print_points(const struct run *r)
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

static enum kvs_code run_sections(struct run *r, const char *which, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    bool all = strcmp(which, "all") == 0;
    for (size_t i = 0; i < N_SECTION && !code && !kvs_probe_stop; i++) {
        /* the topology is always read: it is quick, and sizes and labels need it */
        if (!all && i > 0 && strcmp(which, sections[i].name) != 0)
            continue;
        snprintf(r->section, sizeof r->section, "%s", sections[i].name);
        code = sections[i].fn(r, err);
        if (!code && r->opt.out && strcmp(r->opt.out, "-") != 0)
            code = save(r, r->opt.out, err); /* a kill from outside leaves what is done */
    }
    r->complete = !code && !kvs_probe_stop;
    return code;
}

static enum kvs_code set_up(struct run *r, struct kvs_err *err)
{
    const struct options *opt = &r->opt;
    if (opt->quick + opt->standard + opt->full > 1)
        return kvs_fail(err, KVS_ERR_ARG, "--quick, --standard, --full: want one of them");
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
    static const char *const names[] = {"all",     "topology", "memory", "storage",
                                        "network", "copy",     "serve",  "show",
                                        "compare", "merge",    "import"};
    char known[256];
    if (strcmp(which, "all") == 0)
        return KVS_OK;
    for (size_t i = 0; i < N_SECTION; i++)
        if (strcmp(which, sections[i].name) == 0)
            return KVS_OK;
    return kvs_fail(err, KVS_ERR_ARG, "\"%s\": no such command%s", which,
                    kvs_known(known, sizeof known, which, names, sizeof names / sizeof *names));
}

enum kvs_code kvs_cmd_measure(int argc, char **argv, struct kvs_err *err)
{
    struct run *r = calloc(1, sizeof *r);
    struct kvs_strs pos = {0, {NULL}};
    bool help = false;
    if (!r)
        return kvs_nomem(err);
    r->argc = argc;
    r->argv = argv;
    enum kvs_code code = kvs_opt_argv(table, N_OPT, argc, argv, &r->opt, &pos, &help, err);
    const char *which = pos.n ? pos.v[0] : "all";
    if (!code && help) {
        kvs_opt_help(stdout,
                     "kvprobe [all|topology|memory|storage|network|copy] [OPTION]...\n"
                     "       kvprobe serve|show|compare|merge|import --help",
                     "Measures this machine and writes a hardware profile for kvsim.", table,
                     N_OPT);
        goto done;
    }
    if (!code && pos.n > 1)
        code = kvs_fail(err, KVS_ERR_ARG, "\"%s\": one section at a time, or all", pos.v[1]);
    if (!code)
        code = check_section(which, err);
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
    kvs_points_free(&r->points);
    free(r);
    return code;
}
