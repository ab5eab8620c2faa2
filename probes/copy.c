#include "copy.h"

#include "base/map.h"
#include "vendor.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES (256ull << 20)
#define SYMBOL(table, fn)                                                                          \
    {                                                                                              \
#fn, (void (**)(void)) & (table)->fn                                                       \
    }

/* The part of the driver's interface that is used, by the names its library exports. */
struct cuda {
    void *lib;
    int (*cuInit)(unsigned flags);
    int (*cuDeviceGetCount)(int *n);
    int (*cuDeviceGet)(int *device, int index);
    int (*cuDeviceGetName)(char *name, int room, int device);
    int (*cuDevicePrimaryCtxRetain)(void **context, int device);
    int (*cuDevicePrimaryCtxRelease_v2)(int device);
    int (*cuCtxSetCurrent)(void *context);
    int (*cuMemAlloc_v2)(unsigned long long *address, size_t n_byte);
    int (*cuMemFree_v2)(unsigned long long address);
    int (*cuMemHostAlloc)(void **p, size_t n_byte, unsigned flags);
    int (*cuMemFreeHost)(void *p);
    int (*cuMemcpyHtoDAsync_v2)(unsigned long long to, const void *from, size_t n_byte,
                                void *stream);
    int (*cuMemcpyDtoHAsync_v2)(void *to, unsigned long long from, size_t n_byte, void *stream);
    int (*cuStreamCreate)(void **stream, unsigned flags);
    int (*cuStreamDestroy_v2)(void *stream);
    int (*cuStreamSynchronize)(void *stream);
    int (*cuEventCreate)(void **event, unsigned flags);
    int (*cuEventDestroy_v2)(void *event);
    int (*cuEventRecord)(void *event, void *stream);
    int (*cuEventElapsedTime)(float *ms, void *from, void *to);
    int (*cuDeviceGetPCIBusId)(char *text, int room, int device);
    int (*cuGetErrorString)(int error, const char **text);
};

struct kvs_copy {
    struct cuda cuda;
    int device;
    void *context, *stream[2], *event[2][2]; /* of a stream: before and after */
    unsigned long long device_buf[2];
    uint8_t *pinned[2], *pageable;
    const volatile int *stop;
};

static enum kvs_code failed(const struct cuda *cuda, const char *what, int error,
                            enum kvs_code code, struct kvs_err *err)
{
    const char *text = NULL;
    if (cuda->cuGetErrorString(error, &text) != 0 || !text)
        text = "unknown error";
    return kvs_fail(err, code, "%s: %s (%d)", what, text, error);
}

static enum kvs_code open_cuda(const char *lib_dir, struct cuda *c, struct kvs_err *err)
{
    static const char *const names[] = {"libcuda.so.1", "libcuda.so", NULL};
    const struct kvs_symbol symbols[] = {
        SYMBOL(c, cuInit),
        SYMBOL(c, cuDeviceGetCount),
        SYMBOL(c, cuDeviceGet),
        SYMBOL(c, cuDeviceGetName),
        SYMBOL(c, cuDevicePrimaryCtxRetain),
        SYMBOL(c, cuDevicePrimaryCtxRelease_v2),
        SYMBOL(c, cuCtxSetCurrent),
        SYMBOL(c, cuMemAlloc_v2),
        SYMBOL(c, cuMemFree_v2),
        SYMBOL(c, cuMemHostAlloc),
        SYMBOL(c, cuMemFreeHost),
        SYMBOL(c, cuMemcpyHtoDAsync_v2),
        SYMBOL(c, cuMemcpyDtoHAsync_v2),
        SYMBOL(c, cuStreamCreate),
        SYMBOL(c, cuStreamDestroy_v2),
        SYMBOL(c, cuStreamSynchronize),
        SYMBOL(c, cuEventCreate),
        SYMBOL(c, cuEventDestroy_v2),
        SYMBOL(c, cuEventRecord),
        SYMBOL(c, cuEventElapsedTime),
        SYMBOL(c, cuDeviceGetPCIBusId),
        SYMBOL(c, cuGetErrorString),
    };
    int error, n = 0;
    memset(c, 0, sizeof *c);
    enum kvs_code code = kvs_vendor_open(
        lib_dir, names, symbols, (unsigned)(sizeof symbols / sizeof *symbols), &c->lib, err);
    if (code)
        return code;
    if ((error = c->cuInit(0)) != 0)
        code = failed(c, "cuInit", error, KVS_ERR_ABSENT, err);
    else if ((error = c->cuDeviceGetCount(&n)) != 0)
        code = failed(c, "cuDeviceGetCount", error, KVS_ERR_ABSENT, err);
    else if (n == 0)
        code = kvs_fail(err, KVS_ERR_ABSENT, "the CUDA driver sees no device");
    if (code) {
        kvs_vendor_close(c->lib);
        c->lib = NULL;
    }
    return code;
}

static enum kvs_code make_buffers(struct kvs_copy *copy, struct kvs_err *err)
{
    const struct cuda *c = &copy->cuda;
    for (int i = 0; i < 2; i++) {
        int error;
        if ((error = c->cuStreamCreate(&copy->stream[i], 1 /* not with the default stream */)) !=
                0 ||
            (error = c->cuEventCreate(&copy->event[i][0], 0)) != 0 ||
            (error = c->cuEventCreate(&copy->event[i][1], 0)) != 0 ||
            (error = c->cuMemAlloc_v2(&copy->device_buf[i], MAX_BYTES)) != 0 ||
            (error = c->cuMemHostAlloc((void **)&copy->pinned[i], MAX_BYTES, 0)) != 0)
            return failed(c, "buffers of 256 MiB", error, KVS_ERR_DEVICE, err);
    }
    copy->pageable = malloc(MAX_BYTES);
    if (!copy->pageable)
        return kvs_nomem(err);
    memset(copy->pageable, 1, MAX_BYTES);
    return KVS_OK;
}

/* What goes to the device must come back. */
static enum kvs_code check_copies(struct kvs_copy *copy, struct kvs_err *err)
{
    const struct cuda *c = &copy->cuda;
    uint64_t *from = (uint64_t *)(void *)copy->pinned[0],
             *back = (uint64_t *)(void *)copy->pinned[1];
    size_t n = (1 << 20) / sizeof *from;
    int error;
    for (size_t i = 0; i < n; i++) {
        from[i] = kvs_mix64(i);
        back[i] = 0;
    }
    if ((error = c->cuMemcpyHtoDAsync_v2(copy->device_buf[0], from, 1 << 20, copy->stream[0])) !=
            0 ||
        (error = c->cuMemcpyDtoHAsync_v2(back, copy->device_buf[0], 1 << 20, copy->stream[0])) !=
            0 ||
        (error = c->cuStreamSynchronize(copy->stream[0])) != 0)
        return failed(c, "a copy to the device and back", error, KVS_ERR_DEVICE, err);
    if (memcmp(from, back, 1 << 20) != 0)
        return kvs_fail(err, KVS_ERR_DEVICE, "bytes copied to the device came back changed");
    return KVS_OK;
}

enum kvs_code kvs_copy_open(const char *lib_dir, int device, const volatile int *stop,
                            struct kvs_copy **copy, struct kvs_err *err)
{
    struct kvs_copy *k = calloc(1, sizeof *k);
    int error = 0;
    *copy = NULL;
    if (!k)
        return kvs_nomem(err);
    k->stop = stop;
    enum kvs_code code = open_cuda(lib_dir, &k->cuda, err);
    if (!code && ((error = k->cuda.cuDeviceGet(&k->device, device)) != 0 ||
                  (error = k->cuda.cuDevicePrimaryCtxRetain(&k->context, k->device)) != 0 ||
                  (error = k->cuda.cuCtxSetCurrent(k->context)) != 0))
        code = failed(&k->cuda, "opening the device", error, KVS_ERR_DEVICE, err);
    if (!code)
        code = make_buffers(k, err);
    if (!code)
        code = check_copies(k, err);
    if (code) {
        kvs_copy_close(k);
        return code;
    }
    *copy = k;
    return KVS_OK;
}

void kvs_copy_close(struct kvs_copy *copy)
{
    if (!copy)
        return;
    const struct cuda *c = &copy->cuda;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++)
            if (copy->event[i][k])
                c->cuEventDestroy_v2(copy->event[i][k]);
        if (copy->stream[i])
            c->cuStreamDestroy_v2(copy->stream[i]);
        if (copy->device_buf[i])
            c->cuMemFree_v2(copy->device_buf[i]);
        if (copy->pinned[i])
            c->cuMemFreeHost(copy->pinned[i]);
    }
    if (copy->context)
        c->cuDevicePrimaryCtxRelease_v2(copy->device);
    kvs_vendor_close(copy->cuda.lib);
    free(copy->pageable);
    free(copy);
}

/* One round: depth copies of size each way that is asked. */
struct round {
    uint64_t size, depth;
    bool way[2], pageable; /* way 0: to the device, 1: from it */
};

static int queue_way(struct kvs_copy *copy, const struct round *r, int way)
{
    const struct cuda *c = &copy->cuda;
    uint8_t *host = r->pageable ? copy->pageable : copy->pinned[way];
    int error = c->cuEventRecord(copy->event[way][0], copy->stream[way]);
    for (uint64_t i = 0; i < r->depth && !error; i++) {
        size_t at = (size_t)(i * r->size % (MAX_BYTES - r->size + 1));
        error = way == 0 ? c->cuMemcpyHtoDAsync_v2(copy->device_buf[0] + at, host + at, r->size,
                                                   copy->stream[0])
                         : c->cuMemcpyDtoHAsync_v2(host + at, copy->device_buf[1] + at, r->size,
                                                   copy->stream[1]);
    }
    return error ? error : c->cuEventRecord(copy->event[way][1], copy->stream[way]);
}

/* Queues the round and waits for it. *device_s: from the first copy's start to the last one's end,
 * by the device's own clock; of both ways the longer one. */
static int copy_once(struct kvs_copy *copy, const struct round *r, double *device_s)
{
    const struct cuda *c = &copy->cuda;
    int error = 0;
    *device_s = 0;
    for (int way = 0; way < 2 && !error; way++)
        error = r->way[way] ? queue_way(copy, r, way) : 0;
    for (int way = 0; way < 2 && !error; way++) {
        float ms = 0;
        if (!r->way[way])
            continue;
        if ((error = c->cuStreamSynchronize(copy->stream[way])) == 0 &&
            (error = c->cuEventElapsedTime(&ms, copy->event[way][0], copy->event[way][1])) == 0 &&
            (double)ms / 1e3 > *device_s)
            *device_s = (double)ms / 1e3;
    }
    return error;
}

enum kvs_code kvs_copy_run(void *self, struct kvs_point *point, double secs,
                           struct kvs_sample *sample, struct kvs_err *err)
{
    struct kvs_copy *copy = self;
    bool both = strcmp(point->probe, "copy.both") == 0;
    bool up = both || strcmp(point->probe, "copy.d2h") == 0;
    struct round round = {point->size_bytes,
                          point->depth,
                          {both || !up, up},
                          strcmp(kvs_point_param(point, "host"), "pageable") == 0};
    double device_s, sum_s = 0;
    if (point->size_bytes == 0 || point->size_bytes > MAX_BYTES || point->depth < 1)
        return kvs_fail(err, KVS_ERR_RANGE, "a copy of %llu bytes; want 1 to 256 MiB",
                        (unsigned long long)point->size_bytes);
    copy->cuda.cuCtxSetCurrent(copy->context);
    int64_t begin_ns = kvs_now_ns(), now_ns = begin_ns;
    double cpu_ns = kvs_cpu_ns();
    while (now_ns - begin_ns < (int64_t)(secs * 1e9) && !(copy->stop && *copy->stop)) {
        int64_t start_ns = now_ns;
        int error = copy_once(copy, &round, &device_s);
        if (error)
            return failed(&copy->cuda, point->probe, error, KVS_ERR_DEVICE, err);
        now_ns = kvs_now_ns();
        sum_s += device_s;
        kvs_hist_add(&sample->lat_ns, (uint64_t)(now_ns - start_ns));
        sample->ops += point->depth * (both ? 2 : 1);
    }
    sample->cpu_ns = kvs_cpu_ns() - cpu_ns;
    sample->secs = (double)(now_ns - begin_ns) / 1e9;
    sample->bytes = sample->ops * point->size_bytes;
    sample->bytes_per_s = sum_s > 0 ? (double)sample->bytes / sum_s : 0;
    return KVS_OK;
}

unsigned long long kvs_copy_device_buf(const struct kvs_copy *copy, size_t *n_byte)
{
    *n_byte = MAX_BYTES;
    return copy->device_buf[0];
}

enum kvs_code kvs_copy_fetch(struct kvs_copy *copy, size_t at, void *to, size_t n_byte,
                             struct kvs_err *err)
{
    const struct cuda *c = &copy->cuda;
    assert(at <= MAX_BYTES && n_byte <= MAX_BYTES - at);
    int error = c->cuCtxSetCurrent(copy->context);
    if (!error)
        error = c->cuMemcpyDtoHAsync_v2(copy->pinned[0], copy->device_buf[0] + at, n_byte,
                                        copy->stream[0]);
    if (!error)
        error = c->cuStreamSynchronize(copy->stream[0]);
    if (error)
        return failed(c, "a copy from the device", error, KVS_ERR_DEVICE, err);
    memcpy(to, copy->pinned[0], n_byte);
    return KVS_OK;
}

void kvs_copy_pci(const struct kvs_copy *copy, char pci[16])
{
    if (copy->cuda.cuDeviceGetPCIBusId(pci, 16, copy->device) != 0)
        pci[0] = 0;
    for (char *c = pci; *c; c++)
        *c = (char)tolower((unsigned char)*c);
}

/* --- what is there
 * -------------------------------------------------------------------------------- */

static json_t *backend(enum kvs_code code, const struct kvs_err *err, json_t *info)
{
    return json_pack("{ss so so}", "status", code ? "unavailable" : "available", "reason",
                     code ? json_string(err->msg) : json_null(), "devices",
                     info ? info : json_null());
}

static json_t *find_cuda(const char *lib_dir)
{
    struct cuda c;
    struct kvs_err err = {KVS_OK, ""};
    json_t *names = NULL;
    int n = 0;
    enum kvs_code code = open_cuda(lib_dir, &c, &err);
    if (!code) {
        names = json_array();
        c.cuDeviceGetCount(&n);
        for (int i = 0; i < n; i++) {
            char name[128] = "";
            int device;
            if (c.cuDeviceGet(&device, i) == 0 && c.cuDeviceGetName(name, sizeof name, device) == 0)
                json_array_append_new(names, json_pack("{ss}", "name", name));
        }
        kvs_vendor_close(c.lib);
    }
    return backend(code, &err, names);
}

/* The few calls of NVML that describe a device; enough to tell a throttled one. */
struct nvml {
    int (*nvmlInit_v2)(void);
    int (*nvmlShutdown)(void);
    int (*nvmlSystemGetDriverVersion)(char *text, unsigned room);
    int (*nvmlDeviceGetCount_v2)(unsigned *n);
    int (*nvmlDeviceGetHandleByIndex_v2)(unsigned i, void **device);
    int (*nvmlDeviceGetName)(void *device, char *text, unsigned room);
    int (*nvmlDeviceGetClockInfo)(void *device, int type, unsigned *mhz);
    int (*nvmlDeviceGetEccMode)(void *device, int *current, int *pending);
    int (*nvmlDeviceGetCurrentClocksThrottleReasons)(void *device, unsigned long long *bits);
};

static json_t *nvml_device(const struct nvml *n, unsigned i, const char *driver)
{
    void *device;
    char name[128] = "";
    unsigned mhz = 0;
    int ecc = 0, pending;
    unsigned long long throttle = 0;
    if (n->nvmlDeviceGetHandleByIndex_v2(i, &device) != 0)
        return json_null();
    n->nvmlDeviceGetName(device, name, sizeof name);
    bool clock = n->nvmlDeviceGetClockInfo(device, 1 /* SM */, &mhz) == 0;
    bool has_ecc = n->nvmlDeviceGetEccMode(device, &ecc, &pending) == 0;
    bool reasons = n->nvmlDeviceGetCurrentClocksThrottleReasons(device, &throttle) == 0;
    return json_pack("{ss ss so so so}", "name", name, "driver", driver, "sm_clock_mhz",
                     clock ? json_integer(mhz) : json_null(), "ecc",
                     has_ecc ? json_boolean(ecc) : json_null(), "throttle_reasons",
                     reasons ? json_integer((json_int_t)throttle) : json_null());
}

static json_t *find_nvml(const char *lib_dir)
{
    static const char *const names[] = {"libnvidia-ml.so.1", "libnvidia-ml.so", NULL};
    struct nvml n;
    const struct kvs_symbol symbols[] = {
        SYMBOL(&n, nvmlInit_v2),
        SYMBOL(&n, nvmlShutdown),
        SYMBOL(&n, nvmlSystemGetDriverVersion),
        SYMBOL(&n, nvmlDeviceGetCount_v2),
        SYMBOL(&n, nvmlDeviceGetHandleByIndex_v2),
        SYMBOL(&n, nvmlDeviceGetName),
        SYMBOL(&n, nvmlDeviceGetClockInfo),
        SYMBOL(&n, nvmlDeviceGetEccMode),
        SYMBOL(&n, nvmlDeviceGetCurrentClocksThrottleReasons),
    };
    struct kvs_err err = {KVS_OK, ""};
    void *lib;
    json_t *devices = NULL;
    char driver[80] = "";
    unsigned count = 0;
    int error = 0;
    enum kvs_code code = kvs_vendor_open(lib_dir, names, symbols,
                                         (unsigned)(sizeof symbols / sizeof *symbols), &lib, &err);
    if (!code && (error = n.nvmlInit_v2()) != 0)
        code = kvs_fail(&err, KVS_ERR_ABSENT, "nvmlInit: error %d", error);
    if (!code) {
        devices = json_array();
        n.nvmlSystemGetDriverVersion(driver, sizeof driver);
        n.nvmlDeviceGetCount_v2(&count);
        for (unsigned i = 0; i < count; i++)
            json_array_append_new(devices, nvml_device(&n, i, driver));
        n.nvmlShutdown();
    }
    kvs_vendor_close(lib);
    return backend(code, &err, devices);
}

struct cufile_error {
    int error, cuda_error;
};

static json_t *find_cufile(const char *lib_dir)
{
    static const char *const names[] = {"libcufile.so.0", "libcufile.so", NULL};
    struct {
        struct cufile_error (*cuFileDriverOpen)(void);
        struct cufile_error (*cuFileDriverClose)(void);
    } f;
    const struct kvs_symbol symbols[] = {SYMBOL(&f, cuFileDriverOpen),
                                         SYMBOL(&f, cuFileDriverClose)};
    struct kvs_err err = {KVS_OK, ""};
    void *lib;
    enum kvs_code code = kvs_vendor_open(lib_dir, names, symbols, 2, &lib, &err);
    if (!code) {
        struct cufile_error e = f.cuFileDriverOpen();
        if (e.error != 0)
            code = kvs_fail(&err, KVS_ERR_ABSENT,
                            "cuFileDriverOpen: error %d (is nvidia-fs loaded?)", e.error);
        else
            f.cuFileDriverClose();
    }
    kvs_vendor_close(lib);
    return backend(code, &err, NULL);
}

json_t *kvs_copy_backends_in(const char *lib_dir)
{
    return json_pack("{so so so}", "cuda", find_cuda(lib_dir), "nvml", find_nvml(lib_dir), "cufile",
                     find_cufile(lib_dir));
}
