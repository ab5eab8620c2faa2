#include "team.h"

#include <hwloc.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

/* --- cores ------------------------------------------------------------------------------------ */

struct kvs_cores {
    hwloc_topology_t topology;
    unsigned n;
};

enum kvs_code kvs_cores_new(struct kvs_cores **out, struct kvs_err *err)
{
    struct kvs_cores *cores = calloc(1, sizeof *cores);
    int n;

    *out = NULL;
    if (!cores)
        return kvs_nomem(err);
    if (hwloc_topology_init(&cores->topology)) {
        free(cores);
        return kvs_nomem(err);
    }
    if (hwloc_topology_set_all_types_filter(cores->topology, HWLOC_TYPE_FILTER_KEEP_NONE) ||
        hwloc_topology_set_type_filter(cores->topology, HWLOC_OBJ_CORE,
                                       HWLOC_TYPE_FILTER_KEEP_ALL) ||
        hwloc_topology_load(cores->topology) ||
        (n = hwloc_get_nbobjs_by_type(cores->topology, HWLOC_OBJ_PU)) < 1) {
        kvs_cores_free(cores);
        return kvs_fail(err, KVS_ERR_DEVICE, "cpu: hwloc finds no processor");
    }
    cores->n = (unsigned)n;
    *out = cores;
    return KVS_OK;
}

void kvs_cores_free(struct kvs_cores *cores)
{
    if (!cores)
        return;
    hwloc_topology_destroy(cores->topology);
    free(cores);
}

unsigned kvs_cores_n(const struct kvs_cores *cores)
{
    return cores->n;
}

/* The i-th place: first hardware threads of all cores, then the second ones. */
static hwloc_obj_t place(const struct kvs_cores *cores, unsigned i)
{
    int n_core = hwloc_get_nbobjs_by_type(cores->topology, HWLOC_OBJ_CORE);

    i %= cores->n;
    if (n_core > 0) {
        hwloc_obj_t core =
            hwloc_get_obj_by_type(cores->topology, HWLOC_OBJ_CORE, i % (unsigned)n_core);
        hwloc_obj_t pu = hwloc_get_obj_inside_cpuset_by_type(cores->topology, core->cpuset,
                                                             HWLOC_OBJ_PU, i / (unsigned)n_core);
        if (pu)
            return pu;
    }
    return hwloc_get_obj_by_type(cores->topology, HWLOC_OBJ_PU, i);
}

/* Where a system forbids it the thread stays free: slower at worst. */
static void pin(const struct kvs_cores *cores, unsigned i)
{
    (void)hwloc_set_cpubind(cores->topology, place(cores, i)->cpuset, HWLOC_CPUBIND_THREAD);
}

/* --- teams ------------------------------------------------------------------------------------ */

struct member {
    struct kvs_team *team;
    pthread_t thread;
    unsigned i;
};

struct kvs_team {
    const struct kvs_cores *cores;
    unsigned n, first; /* members; place of member 0 */
    pthread_mutex_t lock;
    pthread_cond_t begun, ended;
    kvs_team_task *task;
    void *arg;
    unsigned n_task, next, n_done;
    bool leaving;
    struct kvs_err failed;
    struct member member[];
};

/* Takes tasks until none is left; the lock is held before and after. */
static void work(struct kvs_team *team)
{
    while (team->next < team->n_task) {
        kvs_team_task *task = team->task;
        unsigned i = team->next++;
        struct kvs_err err = {0};
        pthread_mutex_unlock(&team->lock);
        enum kvs_code code = task(team->arg, i, &err);
        pthread_mutex_lock(&team->lock);
        if (code)
            kvs_fail(&team->failed, code, "%s", err.msg);
        if (++team->n_done == team->n_task)
            pthread_cond_signal(&team->ended);
    }
}

static void *serve(void *arg)
{
    const struct member *self = arg;
    struct kvs_team *team = self->team;

    pin(team->cores, team->first + self->i);
    pthread_mutex_lock(&team->lock);
    while (!team->leaving) {
        work(team);
        pthread_cond_wait(&team->begun, &team->lock);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

enum kvs_code kvs_team_new(const struct kvs_cores *cores, unsigned n_thread, unsigned team_i,
                           struct kvs_team **out, struct kvs_err *err)
{
    struct kvs_team *team = calloc(1, sizeof *team + n_thread * sizeof team->member[0]);

    *out = NULL;
    if (!team)
        return kvs_nomem(err);
    team->cores = cores;
    team->first = team_i % cores->n * n_thread;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->begun, NULL);
    pthread_cond_init(&team->ended, NULL);
    for (team->n = 1; team->n < n_thread; team->n++) {
        struct member *member = &team->member[team->n];
        *member = (struct member){.team = team, .i = team->n};
        if (pthread_create(&member->thread, NULL, serve, member)) {
            kvs_team_free(team);
            return kvs_fail(err, KVS_ERR_IO, "cpu: no thread for a team of %u", n_thread);
        }
    }
    *out = team;
    return KVS_OK;
}

void kvs_team_free(struct kvs_team *team)
{
    if (!team)
        return;
    pthread_mutex_lock(&team->lock);
    team->leaving = true;
    pthread_cond_broadcast(&team->begun);
    pthread_mutex_unlock(&team->lock);
    for (unsigned i = 1; i < team->n; i++)
        pthread_join(team->member[i].thread, NULL);
    pthread_cond_destroy(&team->ended);
    pthread_cond_destroy(&team->begun);
    pthread_mutex_destroy(&team->lock);
    free(team);
}

void kvs_team_enter(struct kvs_team *team)
{
    pin(team->cores, team->first);
}

unsigned kvs_team_n(const struct kvs_team *team)
{
    return team->n;
}

enum kvs_code kvs_team_run(struct kvs_team *team, kvs_team_task *task, void *arg, unsigned n,
                           struct kvs_err *err)
{
    struct kvs_err failed;

    pthread_mutex_lock(&team->lock);
    team->task = task;
    team->arg = arg;
    team->n_task = n;
    team->next = team->n_done = 0;
    team->failed = (struct kvs_err){0};
    pthread_cond_broadcast(&team->begun);
    work(team);
    while (team->n_done < n)
        pthread_cond_wait(&team->ended, &team->lock);
    team->n_task = team->next = 0; /* nobody who wakes late finds anything */
    failed = team->failed;
    pthread_mutex_unlock(&team->lock);
    return failed.code ? kvs_fail(err, failed.code, "%s", failed.msg) : KVS_OK;
}
