/*
 * socket.h - whole messages over a TCP socket, with a deadline on silence. Used by both ends.
 */
#ifndef KVS_PROBES_SOCKET_H
#define KVS_PROBES_SOCKET_H

#include "netproto.h"

#include <stdbool.h>

/* One end of a connection. name is for messages; stop, if any, ends every wait. */
struct kvs_sock {
    int fd;
    char name[64];
    double silence_s; /* longest wait for the peer's next bytes */
    bool spin;        /* waits without sleeping */
    const volatile int *stop;
};

/* KVS_ERR_IO when the peer closes, dies or is silent for too long. */
KVS_MUST_CHECK enum kvs_code kvs_sock_recv(const struct kvs_sock *sock, void *data, uint64_t n_byte,
                                           struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_sock_send_msg(const struct kvs_sock *sock, enum kvs_net_op op,
                                               uint64_t id, uint64_t offset, uint64_t n_byte,
                                               const void *payload, struct kvs_err *err);
/* A header; an ERROR of the peer becomes ours, with its text. */
KVS_MUST_CHECK enum kvs_code kvs_sock_recv_msg(const struct kvs_sock *sock, struct kvs_net_msg *msg,
                                               struct kvs_err *err);

/* What the server holds: known bytes by their place, so that a read can be checked. */
void kvs_net_data(uint8_t *buf, uint64_t n_byte);
bool kvs_net_is_data(const uint8_t *buf, uint64_t offset, uint64_t n_byte);

#endif
