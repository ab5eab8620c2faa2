#include "gds.h"

#include "base/rng.h"
#include "vendor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define OPAQUE_FD 1
#define CHECK_BYTES 4096u

struct cufile_error {
    int error, cuda_error;
};

struct cufile_descr {
    int type;
    union {
        int fd;
        void *handle;
    } handle;
    const void *fs_ops;
};

struct kvs_gds {
    void *lib;
    struct cufile_error (*cuFileDriverOpen)(void);
    struct cufile_error (*cuFileDriverClose)(void);
    struct cufile_error (*cuFileHandleRegister)(void **handle, struct cufile_descr *descr);
    void (*cuFileHandleDeregister)(void *handle);
    struct cufile_error (*cuFileBufRegister)(const void *base, size_t n_byte, int flags);
    struct cufile_error (*cuFileBufDeregister)(const void *base);
    ssize_t (*cuFileRead)(void *handle, void *base, size_t n_byte, off_t at, off_t base_at);
    struct kvs_copy *copy;
    const struct kvs_disk *disk;
    void *handle, *base;
    size_t room;
    bool open, registered;
    const volatile int *stop;
    uint64_t n_run;
};

static enum kvs_code open_lib(struct kvs_gds *g, const char *lib_dir, struct kvs_err *err)
{
    static const char *const names[] = {"libcufile.so.0", "libcufile.so", NULL};
#define SYMBOL(fn)                                                                                 \
    {                                                                                              \
#fn, (void (**)(void)) & g->fn                                                             \
    }
    const struct kvs_symbol symbols[] = {SYMBOL(cuFileDriverOpen),
                                         SYMBOL(cuFileDriverClose),
                                         SYMBOL(cuFileHandleRegister),
                                         SYMBOL(cuFileHandleDeregister),
                                         SYMBOL(cuFileBufRegister),
                                         SYMBOL(cuFileBufDeregister),
                                         SYMBOL(cuFileRead)};
    return kvs_vendor_open(lib_dir, names, symbols, (unsigned)(sizeof symbols / sizeof *symbols),
                           &g->lib, err);
}

static enum kvs_code call_failed(const char *call, struct cufile_error e, struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_ABSENT, "%s: error %d, CUDA %d", call, e.error, e.cuda_error);
}

static enum kvs_code register_all(struct kvs_gds *g, struct kvs_err *err)
{
    struct cufile_descr descr = {.type = OPAQUE_FD};
    struct cufile_error e = g->cuFileDriverOpen();
    if (e.error)
        return kvs_fail(err, KVS_ERR_ABSENT, "cuFileDriverOpen: error %d (is nvidia-fs loaded?)",
                        e.error);
    g->open = true;
    descr.handle.fd = kvs_disk_fd(g->disk);
    e = g->cuFileHandleRegister(&g->handle, &descr);
    if (e.error) {
        g->handle = NULL;
        return call_failed("cuFileHandleRegister", e, err);
    }
    unsigned long long base = kvs_copy_device_buf(g->copy, &g->room);
    g->base = (void *)(uintptr_t)base;
    e = g->cuFileBufRegister(g->base, g->room, 0);
    g->registered = e.error == 0; /* not needed, only faster */
    return KVS_OK;
}

static enum kvs_code read_one(struct kvs_gds *g, uint64_t size, uint64_t at, struct kvs_err *err)
{
    ssize_t n = g->cuFileRead(g->handle, g->base, size, (off_t)at, 0);
    if (n == (ssize_t)size)
        return KVS_OK;
    return kvs_fail(err, KVS_ERR_DEVICE, "cuFileRead of %llu bytes at %llu: %lld",
                    (unsigned long long)size, (unsigned long long)at, (long long)n);
}

static enum kvs_code check_read(struct kvs_gds *g, struct kvs_err *err)
{
    uint64_t bytes[CHECK_BYTES / sizeof(uint64_t)];
    enum kvs_code code = read_one(g, CHECK_BYTES, CHECK_BYTES, err);
    if (!code)
        code = kvs_copy_fetch(g->copy, 0, bytes, sizeof bytes, err);
    if (!code && !kvs_disk_is_data(g->disk, bytes, CHECK_BYTES, sizeof bytes))
        code = kvs_fail(err, KVS_ERR_DEVICE, "cuFileRead brought other bytes than the file's");
    return code;
}

enum kvs_code kvs_gds_open(const char *lib_dir, struct kvs_copy *copy, const struct kvs_disk *disk,
                           const volatile int *stop, struct kvs_gds **gds, struct kvs_err *err)
{
    struct kvs_gds *g = calloc(1, sizeof *g);
    *gds = NULL;
    if (!g)
        return kvs_nomem(err);
    g->copy = copy;
    g->disk = disk;
    g->stop = stop;
    enum kvs_code code = open_lib(g, lib_dir, err);
    if (!code)
        code = register_all(g, err);
    if (!code)
        code = check_read(g, err);
    if (code) {
        kvs_gds_close(g);
        return code;
    }
    *gds = g;
    return KVS_OK;
}

void kvs_gds_close(struct kvs_gds *gds)
{
    if (!gds)
        return;
    if (gds->registered)
        gds->cuFileBufDeregister(gds->base);
    if (gds->handle)
        gds->cuFileHandleDeregister(gds->handle);
    if (gds->open)
        gds->cuFileDriverClose();
    kvs_vendor_close(gds->lib);
    free(gds);
}

enum kvs_code kvs_gds_run(void *self, struct kvs_point *point, double secs,
                          struct kvs_sample *sample, struct kvs_err *err)
{
    struct kvs_gds *g = self;
    uint64_t size = point->size_bytes, n_place = size ? kvs_disk_read_bytes(g->disk) / size : 0;
    struct kvs_rng rng = kvs_rng_stream(g->n_run++, "gds");
    if (n_place == 0 || size > g->room)
        return kvs_fail(err, KVS_ERR_RANGE, "a read of %llu bytes; the file or buffer is smaller",
                        (unsigned long long)size);
    int64_t begin_ns = kvs_now_ns(), now_ns = begin_ns;
    double cpu_ns = kvs_cpu_ns();
    while (now_ns - begin_ns < (int64_t)(secs * 1e9) && !(g->stop && *g->stop)) {
        int64_t start_ns = now_ns;
        enum kvs_code code = read_one(g, size, kvs_rng_below(&rng, n_place) * size, err);
        if (code)
            return code;
        now_ns = kvs_now_ns();
        kvs_hist_add(&sample->lat_ns, (uint64_t)(now_ns - start_ns));
        sample->ops++;
    }
    sample->cpu_ns = kvs_cpu_ns() - cpu_ns;
    sample->secs = (double)(now_ns - begin_ns) / 1e9;
    sample->bytes = sample->ops * size;
    sample->bytes_per_s = sample->secs > 0 ? (double)sample->bytes / sample->secs : 0;
    return KVS_OK;
}
