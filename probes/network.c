#include "network.h"

#include "base/rng.h"
#include "fabric.h"
#include "socket.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_DEPTH 256
#define TICK_MS 100     /* how soon a stop is seen */
#define CHECK_BYTES 64u /* at each end of what arrives */
#define POOL_BYTES (256ull << 20)

struct kvs_net {
    struct kvs_server *server; /* our own, on loopback; NULL: somebody else's */
    struct kvs_sock sock;
    struct kvs_fabric *fabric; /* NULL: plain TCP */
    bool block;
    struct kvs_net_fabric peer;
    uint8_t *pool;
    uint64_t n_run;
};

static enum kvs_code connect_to(const char *host, uint16_t port, struct kvs_sock *sock,
                                struct kvs_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char service[8];
    int one = 1, error;
    socklen_t n = sizeof error;
    snprintf(service, sizeof service, "%u", port);
    snprintf(sock->name, sizeof sock->name, "%.48s:%u", host, port);
    error = getaddrinfo(host, service, &hints, &list);
    if (error)
        return kvs_fail(err, KVS_ERR_IO, "%s: %s", host, gai_strerror(error));
    sock->fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    error = sock->fd < 0 || connect(sock->fd, list->ai_addr, list->ai_addrlen) != 0 ? errno : 0;
    freeaddrinfo(list);
    if (error == EINPROGRESS) {
        struct pollfd p = {sock->fd, POLLOUT, 0};
        error = ETIMEDOUT;
        if (poll(&p, 1, (int)(sock->silence_s * 1000)) > 0 &&
            getsockopt(sock->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
            error = errno;
    }
    if (error)
        return kvs_fail(err, KVS_ERR_IO, "%s: %s (is `kvprobe serve` running there?)", sock->name,
                        strerror(error));
    setsockopt(sock->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return KVS_OK;
}

static enum kvs_code hello(struct kvs_net *net, struct kvs_err *err)
{
    struct kvs_net_msg msg;
    enum kvs_code code;
    if ((code = kvs_sock_send_msg(&net->sock, KVS_NET_HELLO, 0, 0, 0, NULL, err)) ||
        (code = kvs_sock_recv_msg(&net->sock, &msg, err)))
        return code;
    if (msg.op != KVS_NET_HELLO || msg.n_byte != KVS_NET_BUFFER)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: answered HELLO with message %d of %llu bytes",
                        net->sock.name, (int)msg.op, (unsigned long long)msg.n_byte);
    return KVS_OK;
}

static enum kvs_code open_fabric(struct kvs_net *net, const char *provider, struct kvs_err *err)
{
    struct kvs_net_msg msg;
    uint8_t text[KVS_NET_TEXT_MAX];
    enum kvs_code code;
    if ((code = kvs_fabric_open(provider, NULL, false, net->block, net->pool, POOL_BYTES,
                                &net->fabric, err)) ||
        (code = kvs_sock_send_msg(&net->sock, KVS_NET_FABRIC, 0, 0, strlen(provider), provider,
                                  err)) ||
        (code = kvs_sock_recv_msg(&net->sock, &msg, err)))
        return code;
    if (msg.op != KVS_NET_FABRIC)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: answered FABRIC with message %d", net->sock.name,
                        (int)msg.op);
    if ((code = kvs_sock_recv(&net->sock, text, msg.n_byte, err)) ||
        (code = kvs_net_parse_fabric(text, msg.n_byte, &net->peer, err)))
        return code;
    return kvs_fabric_connect(net->fabric, &net->peer, err);
}

enum kvs_code kvs_net_open(const struct kvs_net_config *config, struct kvs_net **net,
                           struct kvs_err *err)
{
    struct kvs_net *n = calloc(1, sizeof *n);
    bool tcp = strcmp(config->transport, "tcp") == 0;
    enum kvs_code code = KVS_OK;
    uint16_t port = config->port;
    *net = NULL;
    if (!n)
        return kvs_nomem(err);
    n->block = config->wait == KVS_WAIT_BLOCK;
    n->sock = (struct kvs_sock){-1, "", config->peer_s > 0 ? config->peer_s : 10, !n->block,
                                config->stop};
    n->pool = aligned_alloc(4096, POOL_BYTES);
    if (!n->pool)
        code = kvs_nomem(err);
    if (!code && !config->peer) {
        code = kvs_server_start(NULL, 0, &n->server, err);
        port = code ? 0 : kvs_server_port(n->server);
    }
    if (!code)
        code = connect_to(config->peer ? config->peer : "127.0.0.1", port, &n->sock, err);
    if (!code)
        code = hello(n, err);
    if (!code && !tcp)
        code = open_fabric(n, config->transport, err);
    if (code) {
        kvs_net_close(n);
        return code;
    }
    *net = n;
    return KVS_OK;
}

void kvs_net_close(struct kvs_net *net)
{
    if (!net)
        return;
    kvs_fabric_close(net->fabric);
    if (net->sock.fd >= 0)
        close(net->sock.fd);
    kvs_server_stop(net->server);
    free(net->pool);
    free(net);
}

/* --- a run --------------------------------------------------------------------------------------
 */

/* Reads in flight. TCP answers in order, so that they form a ring; RMA completes by tag. */
struct flight {
    struct kvs_net *net;
    uint64_t size, depth, span_bytes;
    struct kvs_rng rng;
    uint64_t n_sent, n_done;
    uint64_t at[MAX_DEPTH];
    int64_t start_ns[MAX_DEPTH], heard_ns; /* of the last completion */
    bool busy[MAX_DEPTH];
};

static uint8_t *place(const struct flight *f, uint64_t tag)
{
    return f->net->pool + tag * f->size;
}

static enum kvs_code check(const struct flight *f, uint64_t tag, struct kvs_err *err)
{
    uint64_t n = f->size < CHECK_BYTES ? f->size : CHECK_BYTES, end = f->size - n;
    const uint8_t *buf = place(f, tag);
    if (kvs_net_is_data(buf, f->at[tag], n) && kvs_net_is_data(buf + end, f->at[tag] + end, n))
        return KVS_OK;
    return kvs_fail(err, KVS_ERR_IO, "%s: the bytes read at %llu are not what the server holds",
                    f->net->sock.name, (unsigned long long)f->at[tag]);
}

static enum kvs_code start_read(struct flight *f, uint64_t tag, bool *full, struct kvs_err *err)
{
    uint64_t n_place = f->span_bytes / f->size;
    *full = false;
    f->at[tag] = kvs_rng_below(&f->rng, n_place) * f->size;
    f->start_ns[tag] = kvs_now_ns();
    memset(place(f, tag), 0,
           f->size < 8 ? f->size : 8); /* an old answer must not pass for this one */
    enum kvs_code code =
        f->net->fabric
            ? kvs_fabric_read(f->net->fabric, f->at[tag], tag * f->size, f->size, tag, full, err)
            : kvs_sock_send_msg(&f->net->sock, KVS_NET_READ, tag, f->at[tag], f->size, NULL, err);
    if (!code && !*full) {
        f->busy[tag] = true;
        f->n_sent++;
    }
    return code;
}

static enum kvs_code finish_tcp(struct flight *f, uint64_t *tag, struct kvs_err *err)
{
    struct kvs_net_msg msg;
    enum kvs_code code = kvs_sock_recv_msg(&f->net->sock, &msg, err);
    *tag = msg.id;
    if (code)
        return code;
    if (msg.op != KVS_NET_DATA || msg.id >= f->depth || !f->busy[msg.id] || msg.n_byte != f->size ||
        msg.offset != f->at[msg.id])
        return kvs_fail(err, KVS_ERR_PARSE, "%s: an answer to what was not asked",
                        f->net->sock.name);
    return kvs_sock_recv(&f->net->sock, place(f, *tag), f->size, err);
}

/*
 * Waits until something completes, or once if nothing is under way: a full queue, as before the
 * connection stands, empties by polling. sched_yield, since a peer on this host needs the core too.
 * A tag that is not busy belongs to a run that failed, and is passed over.
 */
static enum kvs_code finish_rma(struct flight *f, uint64_t *tags, unsigned *got,
                                struct kvs_err *err)
{
    do {
        uint64_t all[64];
        unsigned n;
        int wait_ms = f->net->block && f->n_done < f->n_sent ? TICK_MS : 0;
        enum kvs_code code = kvs_fabric_poll(f->net->fabric, wait_ms, all, 64, &n, err);
        if (code)
            return code;
        for (unsigned i = 0; i < n; i++)
            if (all[i] < f->depth && f->busy[all[i]])
                tags[(*got)++] = all[i];
        if (*got) {
            f->heard_ns = kvs_now_ns();
            return KVS_OK;
        }
        if (!wait_ms)
            sched_yield();
        if ((double)(kvs_now_ns() - f->heard_ns) > f->net->sock.silence_s * 1e9)
            return kvs_fail(err, KVS_ERR_IO, "%s: no RMA completion in %.3g s", f->net->sock.name,
                            f->net->sock.silence_s);
        if (f->net->sock.stop && *f->net->sock.stop)
            return KVS_OK;
    } while (f->n_done < f->n_sent);
    return KVS_OK;
}

static enum kvs_code finish(struct flight *f, uint64_t tags[64], unsigned *got, struct kvs_err *err)
{
    enum kvs_code code;
    *got = 0;
    if (f->net->fabric)
        return finish_rma(f, tags, got, err);
    code = finish_tcp(f, &tags[0], err);
    *got = code ? 0 : 1;
    return code;
}

static enum kvs_code fill_queue(struct flight *f, struct kvs_err *err)
{
    bool full = false;
    for (uint64_t tag = 0; tag < f->depth && !full; tag++)
        if (!f->busy[tag]) {
            enum kvs_code code = start_read(f, tag, &full, err);
            if (code)
                return code;
        }
    return KVS_OK;
}

static bool is_stopped(const struct flight *f)
{
    return f->net->sock.stop && *f->net->sock.stop;
}

/* The window runs from completion to completion, as in storage.c. */
static enum kvs_code stream(struct flight *f, double secs, struct kvs_sample *sample,
                            struct kvs_err *err)
{
    int64_t now_ns = kvs_now_ns(), ramp_ns = now_ns + (int64_t)(secs * 1e8), begin_ns = 0;
    double cpu_ns = 0;
    bool open = false;
    while (!is_stopped(f)) {
        uint64_t tags[64];
        unsigned got;
        enum kvs_code code;
        if ((code = fill_queue(f, err)) || (code = finish(f, tags, &got, err)))
            return code;
        now_ns = kvs_now_ns();
        for (unsigned i = 0; i < got; i++) {
            if ((code = check(f, tags[i], err)))
                return code;
            f->busy[tags[i]] = false;
            f->n_done++;
            if (open)
                kvs_hist_add(&sample->lat_ns, (uint64_t)(now_ns - f->start_ns[tags[i]]));
        }
        if (open) {
            sample->ops += got;
            if (now_ns - begin_ns >= (int64_t)(secs * 1e9) && sample->ops >= 2)
                break;
        } else if (got && now_ns >= ramp_ns) {
            open = true;
            begin_ns = now_ns;
            cpu_ns = kvs_cpu_ns();
        }
    }
    sample->secs = (double)(now_ns - begin_ns) / 1e9;
    sample->bytes = sample->ops * f->size;
    sample->bytes_per_s = sample->secs > 0 ? (double)sample->bytes / sample->secs : 0;
    sample->cpu_ns = kvs_cpu_ns() - cpu_ns;
    return KVS_OK;
}

/* What is on its way is taken in, so that the next run begins with an empty line. */
static enum kvs_code drain(struct flight *f, struct kvs_err *err)
{
    while (f->n_done < f->n_sent && !is_stopped(f)) {
        uint64_t tags[64];
        unsigned got;
        enum kvs_code code = finish(f, tags, &got, err);
        if (code)
            return code;
        for (unsigned i = 0; i < got; i++)
            f->busy[tags[i]] = false;
        f->n_done += got;
    }
    return KVS_OK;
}

enum kvs_code kvs_net_run(void *self, struct kvs_point *point, double secs,
                          struct kvs_sample *sample, struct kvs_err *err)
{
    struct kvs_net *net = self;
    uint64_t size = point->size_bytes, depth = point->depth;
    if (size == 0 || size > KVS_NET_BUFFER || depth < 1 || depth > MAX_DEPTH ||
        size * depth > POOL_BYTES)
        return kvs_fail(
            err, KVS_ERR_RANGE,
            "reads of %llu bytes, %llu at a time; want at most 64 MiB, 256 at a time, 256 "
            "MiB in all",
            (unsigned long long)size, (unsigned long long)depth);
    struct flight *f = calloc(1, sizeof *f);
    if (!f)
        return kvs_nomem(err);
    f->net = net;
    f->size = size;
    f->depth = depth;
    f->span_bytes = (uint64_t)json_integer_value(json_object_get(point->params, "span_bytes"));
    if (f->span_bytes < size || f->span_bytes > KVS_NET_BUFFER)
        f->span_bytes = KVS_NET_BUFFER;
    f->rng = kvs_rng_stream(net->n_run++, "network");
    f->heard_ns = kvs_now_ns();
    enum kvs_code code = stream(f, secs, sample, err);
    if (!code)
        code = drain(f, err);
    free(f);
    return code;
}
