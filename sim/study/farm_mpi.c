#include "farm_mpi.h"

#include "mpi_plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NO_ITEM UINT64_MAX /* to a worker: no more; from one: it begins */
#define LOOK_NS 500000     /* rank 0 sleeps so long where nothing has come */
#define TICK_LOOKS 400

struct kvs_mpi {
    const struct kvs_mpi_ops *ops;
    void *plugin;
    int rank, n_rank;
};

/* --- joining -----------------------------------------------------------------------------------
 */

/* Whose mpirun started this process, by what it leaves in the environment; NULL: none. */
static const char *whose(void)
{
    static const struct {
        const char *variable, *name;
    } sign[] = {
        {"OMPI_COMM_WORLD_SIZE", "openmpi"}, {"PMI_SIZE", "mpich"}, {"PMIX_RANK", "openmpi"}};
    for (size_t i = 0; i < sizeof sign / sizeof *sign; i++)
        if (getenv(sign[i].variable))
            return sign[i].name;
    return NULL;
}

/* The plugin beside the program, or where `make install` puts it. The caller frees it. */
static char *plugin_path(const char *name)
{
    char self[PATH_MAX], *path = NULL;
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n < 0 ? 0 : n] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    for (int i = 0; i < 2; i++) {
        if (asprintf(&path, "%s%s/kvsim-mpi-%s.so", self, i ? "/../lib/kvsim" : "", name) < 0)
            return NULL;
        if (access(path, R_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

static enum kvs_code failed(struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_DEVICE, "MPI: a call failed");
}

static enum kvs_code open_plugin(struct kvs_mpi *mpi, const char *name, struct kvs_err *err)
{
    char *path = plugin_path(name);
    enum kvs_code code = KVS_OK;
    if (!path)
        return kvs_fail(err, KVS_ERR_ABSENT,
                        "started by mpirun of %s, but kvsim-mpi-%s.so is not beside kvsim: install "
                        "%s's development package and build again",
                        name, name, name);
    /* global: an MPI opens parts of its own that look for its symbols */
    mpi->plugin = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    mpi->ops = mpi->plugin ? dlsym(mpi->plugin, KVS_MPI_SYMBOL) : NULL;
    if (!mpi->ops)
        code = kvs_fail(err, KVS_ERR_ABSENT, "%s: %s", path, dlerror());
    free(path);
    return code;
}

enum kvs_code kvs_mpi_join(struct kvs_mpi **out, struct kvs_err *err)
{
    const char *name = whose();
    *out = NULL;
    if (!name)
        return KVS_OK;
    struct kvs_mpi *mpi = calloc(1, sizeof *mpi);
    if (!mpi)
        return kvs_nomem(err);
    enum kvs_code code = open_plugin(mpi, name, err);
    if (!code && mpi->ops && mpi->ops->begin(&mpi->rank, &mpi->n_rank)) {
        mpi->ops = NULL;
        code = failed(err);
    }
    if (code || mpi->n_rank < 2) {
        kvs_mpi_leave(mpi, false);
        return code;
    }
    *out = mpi;
    return KVS_OK;
}

void kvs_mpi_leave(struct kvs_mpi *mpi, bool has_failed)
{
    if (!mpi)
        return;
    if (mpi->ops && has_failed)
        mpi->ops->abort();
    else if (mpi->ops)
        (void)mpi->ops->end();
    /* the plugin stays open: MPI has handlers for the program's end */
    free(mpi);
}

int kvs_mpi_rank(const struct kvs_mpi *mpi)
{
    return mpi->rank;
}

/* --- dealing -----------------------------------------------------------------------------------
 */

/* A message of a worker: the item it made, then its text; NO_ITEM as it begins. An empty text: none
 * could be made. */
static enum kvs_code take(const struct kvs_mpi *mpi, const struct kvs_farm *farm, int from,
                          int n_byte, struct kvs_err *err)
{
    char *message = malloc((size_t)n_byte + 1);
    uint64_t item;
    enum kvs_code code = KVS_OK;
    if (!message)
        return kvs_nomem(err);
    if (n_byte < (int)sizeof item || mpi->ops->receive(from, message, n_byte)) {
        code = failed(err);
    } else {
        const char *text = message + sizeof item;
        message[n_byte] = '\0';
        memcpy(&item, message, sizeof item);
        if (item != NO_ITEM)
            code = farm->done(farm->ctx, item, *text ? text : NULL, "not enough memory", err);
    }
    free(message);
    return code;
}

enum kvs_code kvs_mpi_deal(void *ctx, const struct kvs_farm *farm, struct kvs_err *err)
{
    const struct kvs_mpi *mpi = ctx;
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    unsigned n_look = 0;
    for (int n_left = mpi->n_rank - 1; n_left;) {
        int from = 0, n_byte = -1;
        enum kvs_code code;
        if (mpi->ops->look(0, &from, &n_byte))
            return failed(err);
        if (++n_look % TICK_LOOKS == 0 && farm->tick && farm->tick(farm->ctx))
            return kvs_fail(err, KVS_ERR_IO, "interrupted");
        if (n_byte < 0) {
            (void)nanosleep(&pause, NULL);
            continue;
        }
        uint64_t item = NO_ITEM;
        if ((code = take(mpi, farm, from, n_byte, err)))
            return code;
        if (!farm->next(farm->ctx, &item)) {
            item = NO_ITEM;
            n_left--;
        }
        if (mpi->ops->send(from, &item, (int)sizeof item))
            return failed(err);
    }
    return KVS_OK;
}

enum kvs_code kvs_mpi_work(void *ctx, const struct kvs_farm *farm, struct kvs_err *err)
{
    const struct kvs_mpi *mpi = ctx;
    uint64_t item = NO_ITEM;
    if (mpi->ops->send(0, &item, (int)sizeof item))
        return failed(err);
    for (;;) {
        int from, n_byte;
        if (mpi->ops->look(1, &from, &n_byte) || mpi->ops->receive(0, &item, (int)sizeof item))
            return failed(err);
        if (item == NO_ITEM)
            return KVS_OK;
        char *text = farm->work(farm->ctx, item);
        const size_t n = text ? strlen(text) : 0;
        char *message = calloc(1, sizeof item + n + 1);
        if (!message || n > INT_MAX / 2) {
            free(text);
            free(message);
            return kvs_nomem(err);
        }
        memcpy(message, &item, sizeof item);
        if (text)
            memcpy(message + sizeof item, text, n + 1);
        const int bad = mpi->ops->send(0, message, (int)(sizeof item + n));
        free(text);
        free(message);
        if (bad)
            return failed(err);
    }
}
