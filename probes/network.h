/*
 * network.h - reads from a peer: plain TCP, and libfabric RMA (verbs, EFA, tcp;ofi_rxm, shm).
 *
 * The peer is `kvprobe serve`. What arrives is checked against what the server is known to hold. A
 * peer that dies, hangs or talks nonsense is an error within PEER_S seconds, never a hang. Shared
 * memory is no network: kvprobe shows it beside the others and makes no link of it.
 */
#ifndef KVS_PROBES_NETWORK_H
#define KVS_PROBES_NETWORK_H

#include "measure.h"
#include "netproto.h"

/* --- the server ---------------------------------------------------------------------------------
 */

struct kvs_server; /* from kvs_server_start, ended by kvs_server_stop */

/*
 * Listens on an address of this host ("127.0.0.1" unless told otherwise) and serves each connection
 * in a thread of its own until stopped; at most 32 at a time. port 0: any. It holds one read-only
 * buffer of KVS_NET_BUFFER bytes of known data and serves nothing outside it.
 */
KVS_MUST_CHECK enum kvs_code kvs_server_start(const char *address, uint16_t port,
                                              struct kvs_server **server, struct kvs_err *err);
uint16_t kvs_server_port(const struct kvs_server *server);
void kvs_server_stop(struct kvs_server *server); /* accepts NULL */

/* --- the client ---------------------------------------------------------------------------------
 */

/* How a client waits for what it reads: asleep until the kernel wakes it, or asking all the time
 * (lowest latency on a core of its own, ruin on a shared one). The server always asks for RMA. */
enum kvs_net_wait { KVS_WAIT_BLOCK, KVS_WAIT_POLL };

struct kvs_net_config {
    const char *peer; /* NULL: loopback, with a server of our own in this process */
    uint16_t port;
    const char *transport; /* "tcp" or a libfabric provider */
    enum kvs_net_wait wait;
    double peer_s; /* how long the peer may be silent; 0: 10 */
    const volatile int *stop;
};

struct kvs_net; /* from kvs_net_open, ended by kvs_net_close */

/* KVS_ERR_ABSENT: no such provider here or there; KVS_ERR_IO: no peer, or none that speaks our
 * protocol and version. */
KVS_MUST_CHECK enum kvs_code kvs_net_open(const struct kvs_net_config *config, struct kvs_net **net,
                                          struct kvs_err *err);
void kvs_net_close(struct kvs_net *net); /* accepts NULL */
/* A kvs_run_fn: reads of size_bytes, depth of them outstanding, at random places of the server's
 * buffer: colder than its caches; params.span_bytes keeps them within its first so many. */
enum kvs_code kvs_net_run(void *net, struct kvs_point *point, double secs,
                          struct kvs_sample *sample, struct kvs_err *err);

#endif
