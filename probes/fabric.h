/*
 * fabric.h - one libfabric endpoint with one registered buffer: the RMA half of network.h.
 */
#ifndef KVS_PROBES_FABRIC_H
#define KVS_PROBES_FABRIC_H

#include "netproto.h"

#include <stdbool.h>

struct kvs_fabric; /* from kvs_fabric_open, ended by kvs_fabric_close */

/*
 * An endpoint of provider over buf, which peers may read (is_server) or which reads land in.
 * address: to listen on, NULL: any. block: completions may be slept for. KVS_ERR_ABSENT if
 * libfabric has no such provider here, or none that can sleep.
 */
KVS_MUST_CHECK enum kvs_code kvs_fabric_open(const char *provider, const char *address,
                                             bool is_server, bool block, void *buf, uint64_t n_byte,
                                             struct kvs_fabric **fabric, struct kvs_err *err);
void kvs_fabric_close(struct kvs_fabric *fabric); /* accepts NULL */
/* Where it is, for the peer. */
KVS_MUST_CHECK enum kvs_code kvs_fabric_where(struct kvs_fabric *fabric,
                                              struct kvs_net_fabric *where, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_fabric_connect(struct kvs_fabric *fabric,
                                                const struct kvs_net_fabric *peer,
                                                struct kvs_err *err);
/* Starts a read of the peer's bytes into ours. *full: the queue takes no more now; poll first. */
KVS_MUST_CHECK enum kvs_code kvs_fabric_read(struct kvs_fabric *fabric, uint64_t from, uint64_t to,
                                             uint64_t n_byte, uint64_t tag, bool *full,
                                             struct kvs_err *err);
/* Drives progress; tags of what completed, at most n. *got: how many. wait_ms > 0, of a fabric
 * opened with block: sleeps for the first so long at most. */
KVS_MUST_CHECK enum kvs_code kvs_fabric_poll(struct kvs_fabric *fabric, int wait_ms, uint64_t *tags,
                                             unsigned n, unsigned *got, struct kvs_err *err);

#endif
