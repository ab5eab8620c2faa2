#include "farm.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_TRY 3
#define TICK_MS 200

struct worker {
    pid_t pid; /* 0: none */
    int fd;
    bool busy;
    uint64_t item;
};

struct pool {
    const struct kvs_farm *farm;
    unsigned n;
    struct worker *worker;
    struct pollfd *poll;
    /* items that come again because their worker was killed, and how often each had been tried */
    unsigned n_again;
    struct {
        uint64_t item;
        unsigned n_try;
        bool waits;
    } again[64];
};

static bool send_all(int fd, const void *data, size_t n)
{
    for (const char *at = data; n;) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool recv_all(int fd, void *data, size_t n)
{
    for (char *at = data; n;) {
        ssize_t got = recv(fd, at, n, MSG_WAITALL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

/* A worker's life: it ends with its farmer. A text goes as its length and its bytes. */
static void work(const struct kvs_farm *farm, int fd)
{
    uint64_t item;
    while (recv_all(fd, &item, sizeof item)) {
        char *text = farm->work(farm->ctx, item);
        const uint64_t n = text ? strlen(text) : UINT64_MAX;
        const bool sent = send_all(fd, &n, sizeof n) && (!text || send_all(fd, text, (size_t)n));
        free(text);
        if (!sent)
            break;
    }
}

/* In the child: never returns. The farmer's handlers, other children and buffered output are not
 * its own. */
static void be_worker(const struct pool *pool, int fd, pid_t farmer)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGINT, SIG_IGN); /* of the terminal: the farmer decides */
    (void)signal(SIGTERM, SIG_DFL);
    for (unsigned i = 0; i < pool->n; i++)
        if (pool->worker[i].pid)
            close(pool->worker[i].fd);
    if (getppid() == farmer)
        work(pool->farm, fd);
    _exit(0);
}

static enum kvs_code start(struct pool *pool, struct worker *worker, struct kvs_err *err)
{
    int ends[2];
    const pid_t farmer = getpid();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return kvs_fail(err, KVS_ERR_IO, "worker: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        be_worker(pool, ends[1], farmer);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return kvs_fail(err, KVS_ERR_IO, "worker: %s", strerror(errno));
    }
    *worker = (struct worker){.pid = pid, .fd = ends[0]};
    return KVS_OK;
}

/* Its wait status. */
static int stop(struct worker *worker, bool kill_it)
{
    int status = 0;
    close(worker->fd);
    if (kill_it)
        (void)kill(worker->pid, SIGKILL);
    while (waitpid(worker->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    worker->pid = 0;
    worker->busy = false;
    return status;
}

static bool next_item(struct pool *pool, uint64_t *item)
{
    for (unsigned i = 0; i < pool->n_again; i++)
        if (pool->again[i].waits) {
            pool->again[i].waits = false;
            *item = pool->again[i].item;
            return true;
        }
    return pool->farm->next(pool->farm->ctx, item);
}

/* Whether an item whose worker was killed is to be tried once more. */
static bool try_again(struct pool *pool, uint64_t item)
{
    unsigned i = 0;
    while (i < pool->n_again && pool->again[i].item != item)
        i++;
    if (i == sizeof pool->again / sizeof *pool->again)
        return false;
    if (i == pool->n_again) {
        pool->again[pool->n_again].item = item;
        pool->again[pool->n_again++].n_try = 1;
    }
    pool->again[i].waits = pool->again[i].n_try++ < MAX_TRY;
    return pool->again[i].waits;
}

static enum kvs_code lost(struct pool *pool, struct worker *worker, struct kvs_err *err)
{
    const uint64_t item = worker->item;
    const int status = stop(worker, false);
    const int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    char reason[120];
    if ((signal_number == SIGKILL || signal_number == SIGTERM) && try_again(pool, item))
        return KVS_OK;
    if (signal_number)
        snprintf(reason, sizeof reason, "the worker ended by signal %d (%s)", signal_number,
                 strsignal(signal_number));
    else
        snprintf(reason, sizeof reason, "the worker ended with status %d", WEXITSTATUS(status));
    return pool->farm->done(pool->farm->ctx, item, NULL, reason, err);
}

/* Takes a text from a worker that has something to say. */
static enum kvs_code take(struct pool *pool, struct worker *worker, struct kvs_err *err)
{
    uint64_t n;
    char *text = NULL;
    if (!recv_all(worker->fd, &n, sizeof n))
        return lost(pool, worker, err);
    if (n == UINT64_MAX) {
        worker->busy = false;
        return pool->farm->done(pool->farm->ctx, worker->item, NULL, "not enough memory", err);
    }
    text = malloc((size_t)n + 1);
    if (!text)
        return kvs_nomem(err);
    if (!recv_all(worker->fd, text, (size_t)n)) {
        free(text);
        return lost(pool, worker, err);
    }
    text[n] = '\0';
    worker->busy = false;
    enum kvs_code code = pool->farm->done(pool->farm->ctx, worker->item, text, NULL, err);
    free(text);
    return code;
}

/* Gives every free worker something to do. *n_busy: how many have. */
static enum kvs_code deal(struct pool *pool, unsigned *n_busy, struct kvs_err *err)
{
    enum kvs_code code;
    *n_busy = 0;
    for (unsigned i = 0; i < pool->n; i++) {
        struct worker *worker = &pool->worker[i];
        uint64_t item;
        if (!worker->busy && next_item(pool, &item)) {
            if (!worker->pid && (code = start(pool, worker, err)))
                return code;
            worker->busy = true;
            worker->item = item;
            /* if it died meanwhile, its end of file tells */
            (void)send_all(worker->fd, &item, sizeof item);
        }
        *n_busy += worker->busy;
        pool->poll[i] = (struct pollfd){.fd = worker->busy ? worker->fd : -1, .events = POLLIN};
    }
    return KVS_OK;
}

static enum kvs_code run(struct pool *pool, struct kvs_err *err)
{
    enum kvs_code code;
    for (unsigned n_busy;;) {
        if ((code = deal(pool, &n_busy, err)) || !n_busy)
            return code;
        const int n = poll(pool->poll, pool->n, TICK_MS);
        if (n < 0 && errno != EINTR)
            return kvs_fail(err, KVS_ERR_IO, "workers: %s", strerror(errno));
        for (unsigned i = 0; n > 0 && i < pool->n; i++)
            if (pool->poll[i].revents && (code = take(pool, &pool->worker[i], err)))
                return code;
        if (pool->farm->tick && pool->farm->tick(pool->farm->ctx))
            return kvs_fail(err, KVS_ERR_IO, "interrupted");
    }
}

enum kvs_code kvs_farm_local(const struct kvs_farm *farm, unsigned n_worker, struct kvs_err *err)
{
    struct pool pool = {.farm = farm, .n = n_worker};
    enum kvs_code code;
    assert(n_worker > 0);
    pool.worker = calloc(n_worker, sizeof *pool.worker);
    pool.poll = calloc(n_worker, sizeof *pool.poll);
    code = pool.worker && pool.poll ? run(&pool, err) : kvs_nomem(err);
    for (unsigned i = 0; pool.worker && i < n_worker; i++)
        if (pool.worker[i].pid)
            (void)stop(&pool.worker[i], pool.worker[i].busy);
    free(pool.worker);
    free(pool.poll);
    return code;
}
