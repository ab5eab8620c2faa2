/*
 * redis.c - a store that is a Redis or Valkey server: "kvs:KEY.TAG" holds a block's file.
 *
 * SET NX stores it at once or not at all, GETRANGE reads parts of it. Without hiredis there is
 * nothing but the reason.
 */
#include "place.h"

#ifdef KVS_HAVE_HIREDIS
#include <assert.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define NAME "kvs:" /* of our values */
static const char all_names[] = NAME "*";

struct server {
    char *where;
    int64_t timeout_ns;
    redisContext *redis; /* NULL: to be connected anew */
};

static int error_of(const redisContext *redis)
{
    if (!redis)
        return ENOMEM;
    return redis->err == REDIS_ERR_EOF           ? ECONNRESET
           : redis->err == REDIS_ERR_PROTOCOL    ? EPROTO
           : redis->err == REDIS_ERR_IO && errno ? (errno == EAGAIN ? ETIMEDOUT : errno)
                                                 : EIO;
}

/* "HOST:PORT" or the path of a socket. */
static enum kvs_code dial(const struct server *server, redisContext **redis, struct kvs_err *err)
{
    const char *where = server->where, *colon = strrchr(where, ':');
    struct timeval limit = {server->timeout_ns / 1000000000,
                            server->timeout_ns % 1000000000 / 1000};
    char *end = NULL, *host;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;

    *redis = NULL;
    if (where[0] == '/') {
        *redis = redisConnectUnixWithTimeout(where, limit);
    } else if (!colon || colon == where || end == colon + 1 || *end || port < 1 || port > 65535) {
        return kvs_fail(err, KVS_ERR_ARG, "redis:%s: want redis:HOST:PORT or redis:/PATH/OF/SOCKET",
                        where);
    } else {
        host = strndup(where, (size_t)(colon - where));
        if (!host)
            return kvs_nomem(err);
        *redis = redisConnectWithTimeout(host, (int)port, limit);
        free(host);
    }
    if (!*redis)
        return kvs_nomem(err);
    if ((*redis)->err || redisSetTimeout(*redis, limit) != REDIS_OK) {
        enum kvs_code code = kvs_fail(err, KVS_ERR_IO, "redis:%s: %s", where,
                                      (*redis)->err ? (*redis)->errstr : strerror(errno));
        redisFree(*redis);
        *redis = NULL;
        return code;
    }
    return KVS_OK;
}

static void server_close(void *at)
{
    struct server *server = at;

    if (!server)
        return;
    if (server->redis)
        redisFree(server->redis);
    free(server->where);
    free(server);
}

static enum kvs_code server_open(const char *where, const struct kvs_store_opt *opt, void **at,
                                 struct kvs_err *err)
{
    struct server *server = calloc(1, sizeof *server);

    *at = NULL;
    if (server)
        server->where = strdup(where);
    if (!server || !server->where) {
        server_close(server);
        return kvs_nomem(err);
    }
    server->timeout_ns = opt->timeout_ns > 0 ? opt->timeout_ns : 5000000000;
    enum kvs_code code = dial(server, &server->redis, err);
    if (code)
        server_close(server);
    else
        *at = server;
    return code;
}

/* Hands a command to the socket; errno if it did not go. hiredis's own writing would raise SIGPIPE
 * when the server is gone. */
static int hand_over(redisContext *redis, int n, const char *const *arg, const size_t *arg_bytes)
{
    char *command;
    int n_byte = redisFormatCommandArgv(&command, n, (const char **)(uintptr_t)arg, arg_bytes);
    int error = n_byte < 0 ? ENOMEM : 0;

    for (int at = 0; at < n_byte && !error;) {
        ssize_t sent = send(redis->fd, command + at, (size_t)(n_byte - at), MSG_NOSIGNAL);
        if (sent > 0)
            at += (int)sent;
        else if (sent < 0 && errno != EINTR)
            error = errno == EAGAIN ? ETIMEDOUT : errno;
    }
    if (n_byte >= 0)
        redisFreeCommand(command);
    return error;
}

/* A command and its answer, of type want or nil; the caller's to free. */
static enum kvs_code ask(struct server *server, int want, int n, const char *const *arg,
                         const size_t *arg_bytes, redisReply **reply, struct kvs_err *err)
{
    *reply = NULL;
    if (!server->redis) { /* lost before: it may be back */
        enum kvs_code code = dial(server, &server->redis, err);
        if (code)
            return code;
    }
    void *answer = NULL;
    int error = hand_over(server->redis, n, arg, arg_bytes);
    if (!error && redisGetReply(server->redis, &answer) != REDIS_OK)
        error = error_of(server->redis);
    *reply = answer;
    if (error) {
        enum kvs_code code =
            kvs_fail(err, KVS_ERR_IO, "redis:%s: %s: %s", server->where, arg[0], strerror(error));
        redisFree(server->redis);
        server->redis = NULL;
        return code;
    }
    if ((*reply)->type == want || (*reply)->type == REDIS_REPLY_NIL)
        return KVS_OK;
    bool other = (*reply)->type == REDIS_REPLY_ERROR &&
                 strncmp((*reply)->str, "WRONGTYPE", 9) == 0; /* somebody else's key */
    enum kvs_code code =
        other ? kvs_fail(err, KVS_ERR_PARSE, "%s: holds no string, so no block", arg[1])
        : (*reply)->type == REDIS_REPLY_ERROR
            ? kvs_fail(err, KVS_ERR_IO, "redis:%s: %s: %s", server->where, arg[0], (*reply)->str)
            : kvs_fail(err, KVS_ERR_IO, "redis:%s: %s: an answer of type %d, want %d",
                       server->where, arg[0], (*reply)->type, want);
    freeReplyObject(*reply);
    *reply = NULL;
    return code;
}

static char *server_name(void *at, const struct kvs_block_key *key, const char *tag)
{
    char *name;

    (void)at;
    return asprintf(&name, NAME KVS_KEY_FMT ".%s", KVS_KEY_ARG(key), tag) < 0 ? NULL : name;
}

static enum kvs_code server_put(void *at, const char *name, const uint8_t *file, size_t n_byte,
                                bool *there, struct kvs_err *err)
{
    const char *arg[] = {"SET", name, (const char *)file, "NX"};
    const size_t arg_bytes[] = {3, strlen(name), n_byte, 2};
    redisReply *reply;
    enum kvs_code code = ask(at, REDIS_REPLY_STATUS, 4, arg, arg_bytes, &reply, err);

    if (code)
        return code;
    *there = reply->type == REDIS_REPLY_NIL;
    freeReplyObject(reply);
    return KVS_OK;
}

static enum kvs_code server_find(void *at, struct kvs_stored *block, struct kvs_err *err)
{
    const char *arg[] = {"STRLEN", block->name};
    const size_t arg_bytes[] = {6, strlen(block->name)};
    redisReply *reply;
    enum kvs_code code = ask(at, REDIS_REPLY_INTEGER, 2, arg, arg_bytes, &reply, err);

    if (code)
        return code;
    assert(reply);
    block->held = reply->type == REDIS_REPLY_INTEGER && reply->integer > 0;
    block->n_byte = block->held ? (uint64_t)reply->integer : 0;
    freeReplyObject(reply);
    return KVS_OK;
}

struct range {
    char first[24], last[24];
};

static struct range range_of(uint64_t at_bytes, size_t n_byte)
{
    struct range range;

    snprintf(range.first, sizeof range.first, "%llu", (unsigned long long)at_bytes);
    snprintf(range.last, sizeof range.last, "%llu", (unsigned long long)(at_bytes + n_byte - 1));
    return range;
}

static enum kvs_code server_read(void *at, const struct kvs_stored *block, uint64_t at_bytes,
                                 size_t n_byte, uint8_t *to, struct kvs_err *err)
{
    struct range range = range_of(at_bytes, n_byte);
    const char *arg[] = {"GETRANGE", block->name, range.first, range.last};
    const size_t arg_bytes[] = {8, strlen(block->name), strlen(range.first), strlen(range.last)};
    redisReply *reply;
    enum kvs_code code = ask(at, REDIS_REPLY_STRING, 4, arg, arg_bytes, &reply, err);

    if (code)
        return code;
    if (reply->type != REDIS_REPLY_STRING || reply->len != n_byte)
        code = kvs_fail(err, KVS_ERR_PARSE, "%s: %zu bytes at %llu, want %zu", block->name,
                        (size_t)reply->len, (unsigned long long)at_bytes, n_byte);
    else
        memcpy(to, reply->str, n_byte);
    freeReplyObject(reply);
    return code;
}

static enum kvs_code server_drop(void *at, const char *name, struct kvs_err *err)
{
    const char *arg[] = {"DEL", name};
    const size_t arg_bytes[] = {3, strlen(name)};
    redisReply *reply;
    enum kvs_code code = ask(at, REDIS_REPLY_INTEGER, 2, arg, arg_bytes, &reply, err);

    if (!code)
        freeReplyObject(reply);
    return code;
}

static enum kvs_code list_page(struct server *server, const redisReply *names, kvs_entry_fn *each,
                               void *ctx, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;

    for (size_t i = 0; i < names->elements && !code; i++) {
        const redisReply *name = names->element[i];
        const size_t n_prefix = sizeof NAME - 1;
        struct kvs_store_entry entry = {0};
        struct kvs_stored block = {.name = name->str};
        if (name->type != REDIS_REPLY_STRING || name->len < n_prefix ||
            memcmp(name->str, NAME, n_prefix) != 0 ||
            !kvs_block_name_parse(name->str + n_prefix, name->len - n_prefix, &entry.key,
                                  entry.tag))
            continue;
        struct kvs_err why = {0};
        code = server_find(server, &block, &why);
        bool broken = code == KVS_ERR_PARSE; /* who looks for it is told */
        code = code && !broken ? kvs_fail(err, code, "%s", why.msg) : KVS_OK;
        entry.n_byte = block.n_byte;
        if (!code && (block.held || broken))
            code = each(ctx, &entry, err);
    }
    return code;
}

static enum kvs_code server_list(void *at, kvs_entry_fn *each, void *ctx, struct kvs_err *err)
{
    char cursor[24] = "0";
    enum kvs_code code;

    do {
        const char *arg[] = {"SCAN", cursor, "MATCH", all_names, "COUNT", "1000"};
        const size_t arg_bytes[] = {4, strlen(cursor), 5, sizeof all_names - 1, 5, 4};
        redisReply *reply;
        code = ask(at, REDIS_REPLY_ARRAY, 6, arg, arg_bytes, &reply, err);
        if (code)
            return code;
        assert(reply);
        if (reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
            reply->element[0]->len >= sizeof cursor ||
            reply->element[1]->type != REDIS_REPLY_ARRAY) {
            code = kvs_fail(err, KVS_ERR_IO, "redis:%s: SCAN: not the answer that it gives",
                            ((struct server *)at)->where);
        } else {
            memcpy(cursor, reply->element[0]->str, reply->element[0]->len + 1);
            code = list_page(at, reply->element[1], each, ctx, err);
        }
        freeReplyObject(reply);
    } while (!code && strcmp(cursor, "0") != 0);
    return code;
}

/* --- reads in flight ---------------------------------------------------------------------------
 */

struct pipe {
    redisContext *redis;
    struct kvs_read *first, *last; /* asked for, in the order of answers */
    int64_t timeout_ns, moved_ns;  /* when anything last came */
    int error;                     /* the connection is lost: why */
};

static bool pipe_free(void *path, int64_t patience_ns)
{
    struct pipe *pipe = path;

    (void)patience_ns;
    if (!pipe)
        return true;
    redisFree(pipe->redis); /* nothing is written to a read's memory but by pipe_poll */
    free(pipe);
    return true;
}

static enum kvs_code pipe_new(void *at, const struct kvs_reader_opt *opt, void **path,
                              struct kvs_err *err)
{
    struct pipe *pipe = calloc(1, sizeof *pipe);

    *path = NULL;
    if (!pipe)
        return kvs_nomem(err);
    pipe->timeout_ns = opt->timeout_ns;
    enum kvs_code code = dial(at, &pipe->redis, err);
    if (code) {
        free(pipe);
        return code;
    }
    assert(pipe->redis);
    pipe->redis->reader->maxbuf = 0; /* keeps its buffer */
    *path = pipe;
    return KVS_OK;
}

static bool pipe_start(void *path, struct kvs_read *read)
{
    struct pipe *pipe = path;
    struct range range = range_of(read->at_bytes, read->n_byte);
    const char *arg[] = {"GETRANGE", read->block->name, range.first, range.last};
    const size_t arg_bytes[] = {8, strlen(arg[1]), strlen(arg[2]), strlen(arg[3])};

    if (!pipe->error)
        pipe->error = hand_over(pipe->redis, 4, arg, arg_bytes);
    if (pipe->error) {
        read->error = pipe->error;
        return false;
    }
    if (!pipe->first)
        pipe->moved_ns = kvs_store_now_ns();
    read->next = NULL;
    if (pipe->first)
        pipe->last->next = read;
    else
        pipe->first = read;
    pipe->last = read;
    return true;
}

static struct kvs_read *end_first(struct pipe *pipe, int error)
{
    struct kvs_read *read = pipe->first;

    pipe->first = read->next;
    read->error = error;
    read->code = read->n_done == read->n_byte ? KVS_OK : KVS_ERR_IO;
    return read;
}

/* The answer to the first read. */
static struct kvs_read *answer(struct pipe *pipe, redisReply *reply)
{
    struct kvs_read *read = pipe->first;

    if (reply->type == REDIS_REPLY_STRING && reply->len <= read->n_byte) {
        memcpy(read->to, reply->str, reply->len);
        read->n_done = reply->len;
    }
    int error = reply->type == REDIS_REPLY_STRING ? 0 : EREMOTEIO;
    freeReplyObject(reply);
    return end_first(pipe, error);
}

/* More bytes from the server, if any come until then. */
static void receive(struct pipe *pipe, int64_t until_ns)
{
    int64_t now = kvs_store_now_ns(), give_up = pipe->moved_ns + pipe->timeout_ns;
    int64_t wait_ns = (until_ns < give_up ? until_ns : give_up) - now;
    struct pollfd fd = {.fd = pipe->redis->fd, .events = POLLIN};
    struct timespec limit = {0};

    if (wait_ns > 0)
        limit = (struct timespec){wait_ns / 1000000000, wait_ns % 1000000000};
    int got = ppoll(&fd, 1, &limit, NULL);
    if (got > 0) {
        if (redisBufferRead(pipe->redis) != REDIS_OK)
            pipe->error = error_of(pipe->redis);
        pipe->moved_ns = kvs_store_now_ns();
    } else if (got == 0 && kvs_store_now_ns() >= give_up) {
        pipe->error = ETIMEDOUT;
    }
}

static struct kvs_read *pipe_poll(void *path, int64_t until_ns)
{
    struct pipe *pipe = path;
    void *reply = NULL;

    for (bool late = false;; late = kvs_store_now_ns() >= until_ns) {
        if (!pipe->error && redisGetReplyFromReader(pipe->redis, &reply) != REDIS_OK)
            pipe->error = error_of(pipe->redis);
        if (reply)
            return answer(pipe, reply);
        if (pipe->error)
            return end_first(pipe, pipe->error);
        if (late)
            return NULL;
        receive(pipe, until_ns);
    }
}

static const char *pipe_how(void *path)
{
    (void)path;
    return "redis, GETRANGE";
}

static const struct kvs_path_ops pipe_ops = {.new_path = pipe_new,
                                             .free_path = pipe_free,
                                             .start = pipe_start,
                                             .poll = pipe_poll,
                                             .how = pipe_how};

const struct kvs_store_ops kvs_store_redis_ops = {
    .prefix = "redis:",
    .open = server_open,
    .close = server_close,
    .put = server_put,
    .find = server_find,
    .read = server_read,
    .drop = server_drop,
    .list = server_list,
    .name = server_name,
    .path = &pipe_ops,
};

#else

static enum kvs_code server_open(const char *where, const struct kvs_store_opt *opt, void **at,
                                 struct kvs_err *err)
{
    (void)opt;
    *at = NULL;
    return kvs_fail(err, KVS_ERR_ABSENT,
                    "redis:%s: built without hiredis; install libhiredis-dev and build again",
                    where);
}

static void server_close(void *at)
{
    (void)at;
}

const struct kvs_store_ops kvs_store_redis_ops = {
    .prefix = "redis:", .open = server_open, .close = server_close};

#endif
