#include "grid.h"

#include <stdlib.h>
#include <string.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define MAX_IN_FLIGHT (256 * MIB) /* of one job's buffers */
#define MAX_LOAD (64 * MIB)       /* of one load of KV sections */
#define MIN_REPEAT 5

struct kvs_effort kvs_grid_effort(enum kvs_grid_level level, uint64_t seed)
{
    static const struct kvs_effort efforts[] = {
        {0.03, 0.06, MIN_REPEAT, MIN_REPEAT, 40, 0},
        {0.5, 1, MIN_REPEAT, 10, 1200, 0},
        {1, 10, MIN_REPEAT, 20, 6 * 3600.0, 0},
    };
    struct kvs_effort effort = efforts[level];
    effort.seed = seed;
    return effort;
}

/* A list of numbers that ends with 0. */
typedef const uint64_t *list;

struct kvs_point *kvs_tasks_add(struct kvs_tasks *tasks, const char *probe, const char *target,
                                void *self, kvs_run_fn *run)
{
    if (tasks->n == tasks->room) {
        unsigned room = tasks->room ? 2 * tasks->room : 32;
        struct kvs_task *v = realloc(tasks->v, room * sizeof *v);
        if (!v)
            return NULL;
        tasks->v = v;
        tasks->room = room;
    }
    struct kvs_point *point = kvs_points_add(tasks->points, probe, target);
    if (!point)
        return NULL;
    point->depth = point->jobs = 1;
    tasks->v[tasks->n++] = (struct kvs_task){point, run, self};
    return point;
}

/* --- memory -------------------------------------------------------------------------------------
 */

bool kvs_grid_memory(struct kvs_tasks *tasks, enum kvs_grid_level level, unsigned n_core,
                     const char *target, void *mem, kvs_run_fn *run)
{
    static const char *const kernels[] = {"memory.read", "memory.write", "memory.copy"};
    static const uint64_t pieces[][8] = {
        {4 * KIB, 64 * KIB, MIB},
        {512, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB},
        {512, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB}};
    for (unsigned jobs = 1;; jobs = 2 * jobs < n_core ? 2 * jobs : n_core) {
        for (size_t i = 0; i < 3; i++) {
            struct kvs_point *p = kvs_tasks_add(tasks, kernels[i], target, mem, run);
            if (!p)
                return false;
            p->jobs = jobs;
        }
        if (jobs == n_core)
            break;
    }
    for (list size = pieces[level]; *size; size++) {
        struct kvs_point *p = kvs_tasks_add(tasks, "memory.gather", target, mem, run);
        if (!p)
            return false;
        p->size_bytes = *size;
    }
    return kvs_tasks_add(tasks, "memory.latency", target, mem, run) != NULL;
}

/* --- storage ------------------------------------------------------------------------------------
 */

struct disk_grid {
    const char *probe, *pattern;
    uint64_t size[8], depth[8], jobs[4];
    uint64_t n_descriptor; /* of a load, at most */
};

static const struct disk_grid quick_disk[] = {
    {"storage.read", "rand", {4 * KIB, 64 * KIB, MIB}, {1, 8, 64}, {1}, 0},
    {"storage.read", "seq", {MIB}, {16}, {1}, 0},
    {"storage.write", "rand", {4 * KIB, MIB}, {1, 16}, {1}, 0},
    {"storage.mix", "rand", {16 * KIB}, {16}, {1}, 0},
    {"storage.kv", "rand", {16 * KIB, 128 * KIB, MIB}, {1, 8, 32}, {1}, 64},
};
#define ALL_SIZES                                                                                  \
    {                                                                                              \
        4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB                             \
    }
#define ALL_DEPTHS                                                                                 \
    {                                                                                              \
        1, 4, 16, 32, 64                                                                           \
    }
static const struct disk_grid standard_disk[] = {
    {"storage.read", "rand", ALL_SIZES, {1, 8, 64}, {1}, 0},
    {"storage.read", "rand", {4 * KIB}, {64}, {4}, 0},
    {"storage.read", "seq", {64 * KIB, MIB}, {1, 16}, {1}, 0},
    {"storage.write", "rand", {4 * KIB, 64 * KIB, MIB, 16 * MIB}, {1, 16}, {1}, 0},
    {"storage.mix", "rand", {16 * KIB, MIB}, {16}, {1}, 0},
    {"storage.kv",
     "rand",
     {4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB},
     {1, 4, 16, 64},
     {1},
     256},
};
static const struct disk_grid full_disk[] = {
    {"storage.read", "rand", ALL_SIZES, ALL_DEPTHS, {1, 2, 4}, 0},
    {"storage.read", "seq", ALL_SIZES, ALL_DEPTHS, {1, 2, 4}, 0},
    {"storage.write", "rand", ALL_SIZES, ALL_DEPTHS, {1, 2, 4}, 0},
    {"storage.write", "seq", ALL_SIZES, ALL_DEPTHS, {1, 2, 4}, 0},
    {"storage.mix", "rand", ALL_SIZES, ALL_DEPTHS, {1, 2, 4}, 0},
    {"storage.kv", "rand", ALL_SIZES, ALL_DEPTHS, {1}, 512},
};

static bool add_disk(struct kvs_tasks *tasks, const struct disk_grid *g, const char *path,
                     void *disk, kvs_run_fn *run, uint64_t file_bytes)
{
    for (list size = g->size; *size; size++)
        for (list depth = g->depth; *depth; depth++)
            for (list jobs = g->jobs; *jobs; jobs++) {
                if (*size * *depth > MAX_IN_FLIGHT || *size > file_bytes / 4)
                    continue;
                struct kvs_point *p = kvs_tasks_add(tasks, g->probe, "disk0", disk, run);
                if (!p || !kvs_point_set(p, "pattern", json_string(g->pattern)) ||
                    !kvs_point_set(p, "path", json_string(path)))
                    return false;
                p->size_bytes = *size;
                p->depth = *depth;
                p->jobs = *jobs;
                p->n_descriptor =
                    g->n_descriptor * *size > MAX_LOAD ? MAX_LOAD / *size : g->n_descriptor;
            }
    return true;
}

/* What a loader might choose in place of the usual set-up of the ring: small random reads. */
static bool add_rings(struct kvs_tasks *tasks, enum kvs_grid_level level, const char *path,
                      void *disk, kvs_run_fn *run)
{
    static const char *const rings[] = {"iopoll", "sqpoll"};
    static const uint64_t depths[][3] = {{0}, {1, 64}, {1, 64}};
    for (size_t i = 0; i < 2; i++)
        for (list depth = depths[level]; *depth; depth++) {
            struct kvs_point *p = kvs_tasks_add(tasks, "storage.read", "disk0", disk, run);
            if (!p || !kvs_point_set(p, "pattern", json_string("rand")) ||
                !kvs_point_set(p, "path", json_string(path)) ||
                !kvs_point_set(p, "ring", json_string(rings[i])))
                return false;
            p->size_bytes = 4 * KIB;
            p->depth = *depth;
        }
    return true;
}

bool kvs_grid_storage(struct kvs_tasks *tasks, enum kvs_grid_level level, const char *path,
                      bool can_write, uint64_t file_bytes, void *disk, kvs_run_fn *run)
{
    static const struct {
        const struct disk_grid *v;
        size_t n;
    } grids[] = {{quick_disk, sizeof quick_disk / sizeof *quick_disk},
                 {standard_disk, sizeof standard_disk / sizeof *standard_disk},
                 {full_disk, sizeof full_disk / sizeof *full_disk}};
    for (size_t i = 0; i < grids[level].n; i++) {
        const struct disk_grid *g = &grids[level].v[i];
        bool writes =
            strcmp(g->probe, "storage.write") == 0 || strcmp(g->probe, "storage.mix") == 0;
        if ((can_write || !writes) && !add_disk(tasks, g, path, disk, run, file_bytes))
            return false;
    }
    return add_rings(tasks, level, path, disk, run);
}

/* --- network and device copies
 * -------------------------------------------------------------------- */

static struct kvs_point *add_net(struct kvs_tasks *tasks, const char *probe, const char *peer,
                                 const char *transport, enum kvs_net_wait wait, void *net,
                                 kvs_run_fn *run)
{
    struct kvs_point *p = kvs_tasks_add(tasks, probe, peer, net, run);
    bool good = p && kvs_point_set(p, "transport", json_string(transport)) &&
                kvs_point_set(p, "wait", json_string(wait == KVS_WAIT_POLL ? "poll" : "block"));
    return good ? p : NULL;
}

bool kvs_grid_network(struct kvs_tasks *tasks, enum kvs_grid_level level, const char *peer,
                      const char *transport, enum kvs_net_wait wait, bool is_usual, void *net,
                      kvs_run_fn *run)
{
    static const uint64_t sizes[][12] = {
        {8, 64 * KIB, MIB},
        {8, 4 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB},
        {8, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB}};
    static const uint64_t depths[] = {1, 16, 64, 0};
    for (list size = sizes[level]; *size; size++)
        for (list depth = depths; *depth; depth++) {
            if (*size * *depth > MAX_IN_FLIGHT || (level == KVS_QUICK && *depth > 16))
                continue;
            if (level == KVS_QUICK && !is_usual && (*size > 8 || *depth > 1))
                continue; /* the other way of waiting: its latency */
            struct kvs_point *p = add_net(tasks, "network.read", peer, transport, wait, net, run);
            if (!p)
                return false;
            p->size_bytes = *size;
            p->depth = *depth;
        }
    return true;
}

bool kvs_grid_loaded(struct kvs_tasks *tasks, const char *peer, const char *transport,
                     enum kvs_net_wait wait, const char *beside, void *busy, kvs_run_fn *run)
{
    struct kvs_point *p = add_net(tasks, "network.loaded", peer, transport, wait, busy, run);
    if (!p || !kvs_point_set(p, "beside", json_string(beside)))
        return false;
    p->size_bytes = 8;
    return true;
}

bool kvs_grid_copy(struct kvs_tasks *tasks, enum kvs_grid_level level, const char *gpu, void *copy,
                   kvs_run_fn *run)
{
    static const char *const probes[] = {"copy.h2d", "copy.d2h", "copy.both"};
    static const uint64_t sizes[][12] = {
        {4 * KIB, 256 * KIB, 16 * MIB},
        {4 * KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB},
        {4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB}};
    static const char *const hosts[] = {"pinned", "pageable"};
    for (size_t i = 0; i < 3; i++)
        for (list size = sizes[level]; *size; size++)
            for (uint64_t depth = 1; depth <= 16; depth *= 16)
                for (size_t h = 0; h < 2; h++) {
                    if (h == 1 && (depth > 1 || i == 2))
                        continue; /* pageable copies do not overlap */
                    struct kvs_point *p = kvs_tasks_add(tasks, probes[i], gpu, copy, run);
                    if (!p || !kvs_point_set(p, "host", json_string(hosts[h])))
                        return false;
                    p->size_bytes = *size;
                    p->depth = depth;
                }
    return true;
}

bool kvs_grid_copy_busy(struct kvs_tasks *tasks, const char *gpu, const char *beside, void *busy,
                        kvs_run_fn *run)
{
    static const char *const probes[] = {"copy.h2d", "copy.d2h", "copy.both"};
    for (size_t i = 0; i < 3; i++) {
        struct kvs_point *p = kvs_tasks_add(tasks, probes[i], gpu, busy, run);
        if (!p || !kvs_point_set(p, "host", json_string("pinned")) ||
            !kvs_point_set(p, "beside", json_string(beside)))
            return false;
        p->size_bytes = 16 * MIB;
    }
    return true;
}

bool kvs_grid_gds(struct kvs_tasks *tasks, enum kvs_grid_level level, const char *gpu,
                  uint64_t file_bytes, void *gds, kvs_run_fn *run)
{
    static const uint64_t sizes[][8] = {
        {64 * KIB, MIB},
        {4 * KIB, 64 * KIB, MIB, 16 * MIB},
        {4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB}};
    for (list size = sizes[level]; *size; size++) {
        if (*size > file_bytes / 4)
            continue;
        struct kvs_point *p = kvs_tasks_add(tasks, "copy.gds", gpu, gds, run);
        if (!p)
            return false;
        p->size_bytes = *size;
    }
    return true;
}
