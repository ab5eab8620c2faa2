/*
 * team.h - the threads that share the work of one stream of the cpu back end, pinned to cores.
 *
 * The stream's own thread is member 0; the others sleep between operators. Teams take cores in
 * turn, one a member, whole cores before their second hardware threads, as hwloc counts those that
 * this process may use. With more members than cores they share.
 */
#ifndef KVS_CPU_TEAM_H
#define KVS_CPU_TEAM_H

#include "base/err.h"

struct kvs_cores; /* where this process may run; from kvs_cores_new, ended by kvs_cores_free */
struct kvs_team;  /* from kvs_team_new, ended by kvs_team_free */

KVS_MUST_CHECK enum kvs_code kvs_cores_new(struct kvs_cores **cores, struct kvs_err *err);
void kvs_cores_free(struct kvs_cores *cores); /* after the teams on them; accepts NULL */
unsigned kvs_cores_n(const struct kvs_cores *cores);

/* Team team_i of n_thread members, at least 1; its first member is the thread that enters. */
KVS_MUST_CHECK enum kvs_code kvs_team_new(const struct kvs_cores *cores, unsigned n_thread,
                                          unsigned team_i, struct kvs_team **team,
                                          struct kvs_err *err);
void kvs_team_free(struct kvs_team *team);  /* nothing may run; accepts NULL */
void kvs_team_enter(struct kvs_team *team); /* pins the calling thread as member 0 */
unsigned kvs_team_n(const struct kvs_team *team);

/* Calls task(arg, i, err) once for each i below n, by whoever is free, and returns when all have
 * ended: the first failure. Only member 0 may call it. */
typedef enum kvs_code kvs_team_task(void *arg, unsigned i, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_team_run(struct kvs_team *team, kvs_team_task *task, void *arg,
                                          unsigned n, struct kvs_err *err);

#endif
