#include "socket.h"

#include "base/map.h"
#include "measure.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#define TICK_MS 100

/* Waits until the socket is ready for events. */
static enum kvs_code wait_ready(const struct kvs_sock *sock, short events, int64_t deadline_ns,
                                struct kvs_err *err)
{
    struct pollfd p = {sock->fd, events, 0};
    while (poll(&p, 1, sock->spin ? 0 : TICK_MS) <= 0) {
        if (sock->spin)
            sched_yield(); /* a peer on this host needs the core too */
        if (sock->stop && *sock->stop)
            return kvs_fail(err, KVS_ERR_IO, "%s: stopped", sock->name);
        if (kvs_now_ns() > deadline_ns)
            return kvs_fail(err, KVS_ERR_IO, "%s: silent for %.3g s", sock->name, sock->silence_s);
    }
    return KVS_OK;
}

static int64_t deadline(const struct kvs_sock *sock)
{
    return kvs_now_ns() + (int64_t)(sock->silence_s * 1e9);
}

/* flags: MSG_MORE if more follows at once, so that a header does not leave in a packet of its own.
 */
static enum kvs_code send_some(const struct kvs_sock *sock, const void *data, uint64_t n_byte,
                               int flags, struct kvs_err *err)
{
    const char *at = data;
    while (n_byte > 0) {
        ssize_t n = send(sock->fd, at, n_byte, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            enum kvs_code code = wait_ready(sock, POLLOUT, deadline(sock), err);
            if (code)
                return code;
            continue;
        }
        if (n < 0)
            return kvs_fail(err, KVS_ERR_IO, "%s: %s", sock->name, strerror(errno));
        at += n;
        n_byte -= (uint64_t)n;
    }
    return KVS_OK;
}

enum kvs_code kvs_sock_recv(const struct kvs_sock *sock, void *data, uint64_t n_byte,
                            struct kvs_err *err)
{
    char *at = data;
    while (n_byte > 0) {
        ssize_t n = recv(sock->fd, at, n_byte, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            enum kvs_code code = wait_ready(sock, POLLIN, deadline(sock), err);
            if (code)
                return code;
            continue;
        }
        if (n <= 0)
            return kvs_fail(err, KVS_ERR_IO, "%s: %s", sock->name,
                            n == 0 ? "the peer closed the connection" : strerror(errno));
        at += n;
        n_byte -= (uint64_t)n;
    }
    return KVS_OK;
}

enum kvs_code kvs_sock_send_msg(const struct kvs_sock *sock, enum kvs_net_op op, uint64_t id,
                                uint64_t offset, uint64_t n_byte, const void *payload,
                                struct kvs_err *err)
{
    uint8_t header[KVS_NET_HEADER];
    struct kvs_net_msg msg = {op, id, offset, n_byte};
    kvs_net_pack(&msg, header);
    enum kvs_code code =
        send_some(sock, header, sizeof header, payload && n_byte ? MSG_MORE : 0, err);
    return !code && payload ? send_some(sock, payload, n_byte, 0, err) : code;
}

enum kvs_code kvs_sock_recv_msg(const struct kvs_sock *sock, struct kvs_net_msg *msg,
                                struct kvs_err *err)
{
    uint8_t header[KVS_NET_HEADER];
    char text[KVS_NET_TEXT_MAX + 1];
    struct kvs_err own = {KVS_OK, ""};
    enum kvs_code code = kvs_sock_recv(sock, header, sizeof header, err);
    if (code)
        return code;
    if ((code = kvs_net_parse(header, msg, &own)))
        return kvs_fail(err, code, "%s: %s", sock->name, own.msg);
    if (msg->op != KVS_NET_ERROR)
        return KVS_OK;
    if ((code = kvs_sock_recv(sock, text, msg->n_byte, err)))
        return code;
    text[msg->n_byte] = 0;
    return kvs_fail(err, msg->id == KVS_ERR_ABSENT ? KVS_ERR_ABSENT : KVS_ERR_IO,
                    "%s: the peer says: %s", sock->name, text);
}

void kvs_net_data(uint8_t *buf, uint64_t n_byte)
{
    for (uint64_t i = 0; i < n_byte; i += 8) {
        uint64_t word = kvs_mix64(i / 8 + 1);
        memcpy(buf + i, &word, n_byte - i < 8 ? n_byte - i : 8);
    }
}

bool kvs_net_is_data(const uint8_t *buf, uint64_t offset, uint64_t n_byte)
{
    for (uint64_t i = 0; i < n_byte; i++) {
        uint64_t at = offset + i, word = kvs_mix64(at / 8 + 1);
        uint8_t bytes[8];
        memcpy(bytes, &word, 8);
        if (buf[i] != bytes[at % 8])
            return false;
    }
    return true;
}
