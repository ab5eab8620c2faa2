#include "section.h"

#include "busy.h"
#include "cmd.h"
#include "copy.h"
#include "gds.h"
#include "memory.h"
#include "network.h"
#include "storage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kvs_code kvs_probe_measure(struct kvs_probe_run *r, struct kvs_tasks *tasks,
                                const struct kvs_effort *effort, struct kvs_err *err)
{
    bool complete;
    enum kvs_code code =
        kvs_measure(tasks->v, tasks->n, effort ? effort : &r->effort, &r->hooks, &complete, err);
    kvs_probe_end_progress(r);
    return code;
}

/* What passes through memory can't be faster. */
static enum kvs_code measure(struct kvs_probe_run *r, struct kvs_tasks *tasks, struct kvs_err *err)
{
    for (unsigned i = 0; i < tasks->n && r->memory_rate > 0; i++)
        if (strncmp(tasks->v[i].point->probe, "memory.", 7) != 0 &&
            !(tasks->v[i].point->ceiling_bytes_per_s > 0 &&
              tasks->v[i].point->ceiling_bytes_per_s < r->memory_rate))
            tasks->v[i].point->ceiling_bytes_per_s = r->memory_rate;
    return kvs_probe_measure(r, tasks, NULL, err);
}

enum kvs_code kvs_probe_absent(struct kvs_probe_run *r, const char *probe, const char *target,
                               enum kvs_code why, const struct kvs_err *reason, struct kvs_err *err)
{
    if (why == KVS_ERR_NOMEM)
        return kvs_nomem(err);
    struct kvs_point *p = kvs_points_add(&r->points, probe, target);
    if (!p)
        return kvs_nomem(err);
    kvs_point_unavailable(p, why == KVS_ERR_ABSENT ? KVS_UNAVAILABLE : KVS_FAILED, reason->msg);
    return KVS_OK;
}

static enum kvs_code probe_topology(struct kvs_probe_run *r, struct kvs_err *err)
{
    enum kvs_code code = kvs_topology_read(r->opt.topology, false, &r->topology, err);
    if (!code)
        r->topology_json = kvs_topology_json(r->topology);
    return code;
}

static enum kvs_code memory_pair(struct kvs_probe_run *r, int from, int to, uint64_t n_byte,
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
        return kvs_probe_absent(r, "memory.copy", target, KVS_ERR_ABSENT, &own, err);
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

static enum kvs_code probe_memory(struct kvs_probe_run *r, struct kvs_err *err)
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

static struct kvs_disk_config disk_config(const struct kvs_probe_run *r)
{
    return (struct kvs_disk_config){.dir = r->opt.dir,
                                    .target = r->opt.target,
                                    .destroy = r->opt.destroy,
                                    .buffered = r->opt.buffered,
                                    .file_bytes = r->opt.file_bytes,
                                    .engine = (enum kvs_disk_engine)r->opt.engine,
                                    .seed = r->opt.seed,
                                    .stop = &kvs_probe_stop};
}

static enum kvs_code probe_storage(struct kvs_probe_run *r, struct kvs_err *err)
{
    struct kvs_tasks tasks = {0, 0, NULL, &r->points};
    struct kvs_disk_config config = disk_config(r);
    struct kvs_disk *disk = NULL;
    struct kvs_err own = {KVS_OK, ""};
    if (r->tty)
        fputs("storage: writing the test file", stderr);
    enum kvs_code code = kvs_disk_open(&config, &disk, &own);
    kvs_probe_end_progress(r);
    if (code == KVS_ERR_ARG || code == KVS_ERR_RANGE)
        return kvs_fail(err, code, "%s", own.msg);
    if (code)
        return kvs_probe_stop ? KVS_OK
                              : kvs_probe_absent(r, "storage.read", "disk0", code, &own, err);
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

/* One transport, with one way of waiting; with the usual one also the latency under load. */
static enum kvs_code probe_transport(struct kvs_probe_run *r, const struct kvs_net_config *config,
                                     bool is_usual, struct kvs_err *err)
{
    const char *target = r->opt.peer ? r->opt.peer : "127.0.0.1";
    struct kvs_tasks tasks = {0, 0, NULL, &r->points};
    struct kvs_points beside = {0, 0, NULL};
    struct kvs_busy busy = {.run = kvs_net_run, .n = 1};
    struct kvs_net *net = NULL, *other = NULL;
    struct kvs_err own = {KVS_OK, ""};
    enum kvs_code code = kvs_net_open(config, &net, &own);
    if (code) {
        code = kvs_probe_absent(r, "network.read", target, code, &own, err);
        struct kvs_point *p = code ? NULL : r->points.v[r->points.n - 1];
        if (p && (!kvs_point_set(p, "transport", json_string(config->transport)) ||
                  !kvs_point_set(p, "wait",
                                 json_string(config->wait == KVS_WAIT_POLL ? "poll" : "block"))))
            code = kvs_nomem(err);
        return code;
    }
    if (!kvs_grid_network(&tasks, r->level, target, config->transport, config->wait, is_usual, net,
                          kvs_net_run))
        code = kvs_nomem(err);
    if (!code && is_usual && kvs_net_open(config, &other, NULL) == KVS_OK) {
        struct kvs_point *load = kvs_points_add(&beside, "network.read", target);
        busy.self = net;
        busy.beside[0] = (struct kvs_beside){kvs_net_run, other, load};
        if (load) {
            load->size_bytes = 1 << 20;
            load->depth = 16;
        }
        if (!load || !kvs_grid_loaded(&tasks, target, config->transport, config->wait,
                                      "network.read 1 MiB x 16", &busy, kvs_busy_run))
            code = kvs_nomem(err);
    }
    if (!code)
        code = measure(r, &tasks, err);
    kvs_net_close(other);
    kvs_net_close(net);
    kvs_points_free(&beside);
    free(tasks.v);
    return code;
}

static enum kvs_code probe_network(struct kvs_probe_run *r, struct kvs_err *err)
{
    static const struct {
        const char *transport;
        enum kvs_net_wait usual, other;
    } ways[] = {{"tcp", KVS_WAIT_BLOCK, KVS_WAIT_POLL},
                {"verbs;ofi_rxm", KVS_WAIT_POLL, KVS_WAIT_BLOCK},
                {"efa", KVS_WAIT_POLL, KVS_WAIT_BLOCK},
                {"tcp;ofi_rxm", KVS_WAIT_POLL, KVS_WAIT_BLOCK},
                {"shm", KVS_WAIT_POLL, KVS_WAIT_BLOCK}};
    enum kvs_code code = KVS_OK;
    for (size_t i = 0; i < 2 * sizeof ways / sizeof *ways && !code && !kvs_probe_stop; i++) {
        bool is_usual = i % 2 == 0;
        struct kvs_net_config config = {.peer = r->opt.peer,
                                        .port = (uint16_t)r->opt.port,
                                        .transport = ways[i / 2].transport,
                                        .wait = is_usual ? ways[i / 2].usual : ways[i / 2].other,
                                        .stop = &kvs_probe_stop};
        if (r->opt.peer && strcmp(config.transport, "shm") == 0)
            continue; /* one host only */
        code = probe_transport(r, &config, is_usual, err);
    }
    return code;
}

/* Both directions of the device's PCIe slot are no faster than the slot. */
static void set_copy_ceiling(const struct kvs_probe_run *r, const struct kvs_copy *copy,
                             const struct kvs_tasks *tasks)
{
    char pci[16];
    double slot = 0;
    kvs_copy_pci(copy, pci);
    for (unsigned i = 0; r->topology && i < r->topology->n_dev; i++)
        if (strcmp(r->topology->dev[i].pci, pci) == 0 &&
            isfinite(r->topology->dev[i].link_bytes_per_s))
            slot = r->topology->dev[i].link_bytes_per_s;
    for (unsigned i = 0; i < tasks->n && slot > 0; i++) {
        struct kvs_point *p = tasks->v[i].point;
        p->ceiling_bytes_per_s = strcmp(p->probe, "copy.both") == 0 ? 2 * slot : slot;
    }
}

/* What keeps disk and network going while copies run; what cannot be opened stays out. */
struct load {
    struct kvs_disk *disk;
    struct kvs_net *net;
    struct kvs_points points;
    struct kvs_busy busy;
    char says[96];
};

static void add_load(struct load *load, const char *probe, kvs_run_fn *run, void *self)
{
    struct kvs_point *p = self ? kvs_points_add(&load->points, probe, "beside") : NULL;
    size_t at = strlen(load->says);
    if (!p)
        return;
    p->size_bytes = 1 << 20;
    p->depth = 16;
    p->jobs = 1;
    load->busy.beside[load->busy.n++] = (struct kvs_beside){run, self, p};
    snprintf(load->says + at, sizeof load->says - at, "%s%s 1 MiB x 16", at ? ", " : "", probe);
}

static void open_load(struct kvs_probe_run *r, struct kvs_copy *copy, struct load *load)
{
    struct kvs_disk_config disk = disk_config(r);
    struct kvs_net_config net = {.peer = r->opt.peer,
                                 .port = (uint16_t)r->opt.port,
                                 .transport = "tcp",
                                 .stop = &kvs_probe_stop};
    *load = (struct load){.busy = {.run = kvs_copy_run, .self = copy}};
    disk.destroy = false;
    if (kvs_disk_open(&disk, &load->disk, NULL) != KVS_OK)
        load->disk = NULL;
    if (kvs_net_open(&net, &load->net, NULL) != KVS_OK)
        load->net = NULL;
    add_load(load, "storage.read", kvs_disk_run, load->disk);
    add_load(load, "network.read", kvs_net_run, load->net);
}

static void close_load(struct load *load)
{
    kvs_disk_close(load->disk);
    kvs_net_close(load->net);
    kvs_points_free(&load->points);
}

static enum kvs_code measure_copies(struct kvs_probe_run *r, struct kvs_copy *copy,
                                    struct load *load, struct kvs_err *err)
{
    struct kvs_tasks tasks = {0, 0, NULL, &r->points};
    struct kvs_gds *gds = NULL;
    struct kvs_err own = {KVS_OK, ""};
    enum kvs_code code = KVS_OK, why = KVS_ERR_ABSENT;
    if (load->disk)
        why = kvs_gds_open(r->opt.libs, copy, load->disk, &kvs_probe_stop, &gds, &own);
    else
        kvs_fail(&own, why, "no test file to read from");
    if (why)
        code = kvs_probe_absent(r, "copy.gds", "gpu0", why, &own, err);
    if (!code && (!kvs_grid_copy(&tasks, r->level, "gpu0", copy, kvs_copy_run) ||
                  (load->busy.n &&
                   !kvs_grid_copy_busy(&tasks, "gpu0", load->says, &load->busy, kvs_busy_run)) ||
                  (gds && !kvs_grid_gds(&tasks, r->level, "gpu0", kvs_disk_bytes(load->disk), gds,
                                        kvs_gds_run))))
        code = kvs_nomem(err);
    if (!code) {
        set_copy_ceiling(r, copy, &tasks);
        code = measure(r, &tasks, err);
    }
    kvs_gds_close(gds);
    free(tasks.v);
    return code;
}

static enum kvs_code probe_copy(struct kvs_probe_run *r, struct kvs_err *err)
{
    struct kvs_err own = {KVS_OK, ""};
    struct kvs_copy *copy = NULL;
    struct load load;
    r->devices = kvs_copy_backends_in(r->opt.libs);
    enum kvs_code code = kvs_copy_open(r->opt.libs, 0, &kvs_probe_stop, &copy, &own);
    if (code)
        return kvs_probe_absent(r, "copy.h2d", "gpu0", code, &own, err);
    open_load(r, copy, &load);
    code = measure_copies(r, copy, &load, err);
    close_load(&load);
    kvs_copy_close(copy);
    return code;
}

const struct kvs_probe_section kvs_sections[KVS_N_SECTION] = {
    {"topology", probe_topology}, {"memory", probe_memory},       {"storage", probe_storage},
    {"network", probe_network},   {"copy", probe_copy},           {"prefill", kvs_probe_prefill},
    {"codec", kvs_probe_codec},   {"quality", kvs_probe_quality},
};
