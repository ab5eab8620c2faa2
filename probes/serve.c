/* The network peer: see network.h. */
#include "fabric.h"
#include "measure.h"
#include "network.h"
#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONN 32
#define IDLE_S 60   /* a client that says nothing for that long is sent away */
#define TICK_MS 100 /* how soon a stop is seen */

struct conn {
    struct kvs_server *server;
    struct kvs_sock sock;
    struct kvs_fabric *fabric; /* progress of reads by RMA needs our help */
    pthread_t thread;
    atomic_int state; /* 0: free, 1: running, 2: ended, to be joined */
};

struct kvs_server {
    int fd;
    uint16_t port;
    char address[64];
    volatile int stop;
    uint8_t *data;
    pthread_t thread;
    struct conn conn[MAX_CONN];
};

static void say_error(const struct kvs_sock *sock, const struct kvs_err *err)
{
    size_t n = strlen(err->msg);
    n = n < KVS_NET_TEXT_MAX ? n : KVS_NET_TEXT_MAX;
    (void)!kvs_sock_send_msg(sock, KVS_NET_ERROR, (uint64_t)err->code, 0, n, err->msg, NULL);
}

static enum kvs_code serve_fabric(struct conn *c, const struct kvs_net_msg *msg,
                                  struct kvs_err *err)
{
    char provider[64] = {0};
    struct kvs_net_fabric where;
    uint8_t text[KVS_NET_TEXT_MAX];
    if (msg->n_byte >= sizeof provider)
        return kvs_fail(err, KVS_ERR_RANGE, "a provider's name of %llu bytes",
                        (unsigned long long)msg->n_byte);
    enum kvs_code code = kvs_sock_recv(&c->sock, provider, msg->n_byte, err);
    if (code)
        return code;
    kvs_fabric_close(c->fabric);
    c->fabric = NULL;
    if ((code = kvs_fabric_open(provider, c->server->address, true, false, c->server->data,
                                KVS_NET_BUFFER, &c->fabric, err)) ||
        (code = kvs_fabric_where(c->fabric, &where, err)))
        return code;
    return kvs_sock_send_msg(&c->sock, KVS_NET_FABRIC, msg->id, 0,
                             kvs_net_pack_fabric(&where, text), text, err);
}

static enum kvs_code serve_msg(struct conn *c, struct kvs_err *err)
{
    struct kvs_net_msg msg;
    enum kvs_code code = kvs_sock_recv_msg(&c->sock, &msg, err);
    if (code)
        return code;
    switch (msg.op) {
    case KVS_NET_HELLO:
        return kvs_sock_send_msg(&c->sock, KVS_NET_HELLO, msg.id, 0, KVS_NET_BUFFER, NULL, err);
    case KVS_NET_READ: /* the parser made sure that it lies inside */
        return kvs_sock_send_msg(&c->sock, KVS_NET_DATA, msg.id, msg.offset, msg.n_byte,
                                 c->server->data + msg.offset, err);
    case KVS_NET_FABRIC:
        return serve_fabric(c, &msg, err);
    case KVS_NET_DATA:
    case KVS_NET_ERROR:
        break;
    }
    return kvs_fail(err, KVS_ERR_PARSE, "a server takes no message of number %d", (int)msg.op);
}

/* Waits for the client's next message, and keeps RMA going meanwhile. */
static bool has_msg(struct conn *c)
{
    int64_t idle_ns = kvs_now_ns() + (int64_t)IDLE_S * 1000000000, look_ns = 0;
    while (!c->server->stop) {
        struct pollfd p = {c->sock.fd, POLLIN, 0};
        uint64_t tags[8];
        unsigned got;
        if (c->fabric) {
            if (kvs_fabric_poll(c->fabric, 0, tags, 8, &got, NULL) != KVS_OK)
                return false;
            sched_yield();
            if (kvs_now_ns() < look_ns)
                continue;
            look_ns = kvs_now_ns() + 1000000;
        }
        if (poll(&p, 1, c->fabric ? 0 : TICK_MS) > 0)
            return true;
        if (!c->fabric && kvs_now_ns() > idle_ns)
            return false;
    }
    return false;
}

static void *serve_conn(void *self)
{
    struct conn *c = self;
    struct kvs_err err = {KVS_OK, ""};
    while (has_msg(c) && serve_msg(c, &err) == KVS_OK)
        ;
    if (err.code)
        say_error(&c->sock, &err); /* if it still listens */
    kvs_fabric_close(c->fabric);
    c->fabric = NULL;
    shutdown(c->sock.fd, SHUT_WR);
    close(c->sock.fd);
    atomic_store(&c->state, 2);
    return NULL;
}

static struct conn *free_conn(struct kvs_server *s)
{
    struct conn *found = NULL;
    for (int i = 0; i < MAX_CONN; i++) {
        if (atomic_load(&s->conn[i].state) == 2) {
            pthread_join(s->conn[i].thread, NULL);
            atomic_store(&s->conn[i].state, 0);
        }
        if (!found && atomic_load(&s->conn[i].state) == 0)
            found = &s->conn[i];
    }
    return found;
}

static void take(struct kvs_server *s, int fd)
{
    struct conn *c = free_conn(s);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct kvs_sock sock = {fd, "client", 10, false, &s->stop};
    if (c) {
        c->server = s;
        c->sock = sock;
        atomic_store(&c->state, 1);
        if (pthread_create(&c->thread, NULL, serve_conn, c) == 0)
            return;
        atomic_store(&c->state, 0);
    }
    struct kvs_err busy = {KVS_OK, ""};
    kvs_fail(&busy, KVS_ERR_IO, "busy: %d clients are served already", MAX_CONN);
    say_error(&sock, &busy);
    close(fd);
}

static void *serve(void *self)
{
    struct kvs_server *s = self;
    while (!s->stop) {
        struct pollfd p = {s->fd, POLLIN, 0};
        if (poll(&p, 1, TICK_MS) <= 0)
            continue;
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            take(s, fd);
    }
    return NULL;
}

static enum kvs_code start_listening(struct kvs_server *s, const char *address, uint16_t port,
                                     struct kvs_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } got;
    socklen_t n = sizeof got;
    char service[8];
    int one = 1;
    memset(&got, 0, sizeof got);
    snprintf(service, sizeof service, "%u", port);
    int error = getaddrinfo(address, service, &hints, &list);
    if (error)
        return kvs_fail(err, KVS_ERR_ARG, "%s: %s", address, gai_strerror(error));
    s->fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd >= 0)
        setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bool bad = s->fd < 0 || bind(s->fd, list->ai_addr, list->ai_addrlen) != 0 ||
               listen(s->fd, MAX_CONN) != 0 || getsockname(s->fd, &got.any, &n) != 0;
    error = errno;
    freeaddrinfo(list);
    if (bad)
        return kvs_fail(err, KVS_ERR_IO, "%s port %u: %s", address, port, strerror(error));
    s->port = ntohs(got.any.sa_family == AF_INET6 ? got.v6.sin6_port : got.v4.sin_port);
    return KVS_OK;
}

enum kvs_code kvs_server_start(const char *address, uint16_t port, struct kvs_server **server,
                               struct kvs_err *err)
{
    struct kvs_server *s = calloc(1, sizeof *s);
    enum kvs_code code;
    *server = NULL;
    if (!s)
        return kvs_nomem(err);
    s->fd = -1;
    snprintf(s->address, sizeof s->address, "%s", address ? address : "127.0.0.1");
    s->data = aligned_alloc(4096, KVS_NET_BUFFER);
    code = s->data ? start_listening(s, s->address, port, err) : kvs_nomem(err);
    if (!code) {
        kvs_net_data(s->data, KVS_NET_BUFFER);
        if (pthread_create(&s->thread, NULL, serve, s) != 0)
            code = kvs_fail(err, KVS_ERR_IO, "cannot start a thread");
    }
    if (code) {
        if (s->fd >= 0)
            close(s->fd);
        free(s->data);
        free(s);
        return code;
    }
    *server = s;
    return KVS_OK;
}

uint16_t kvs_server_port(const struct kvs_server *server)
{
    return server->port;
}

void kvs_server_stop(struct kvs_server *s)
{
    if (!s)
        return;
    s->stop = 1;
    pthread_join(s->thread, NULL);
    for (int i = 0; i < MAX_CONN; i++)
        if (atomic_load(&s->conn[i].state) != 0)
            pthread_join(s->conn[i].thread, NULL);
    close(s->fd);
    free(s->data);
    free(s);
}
