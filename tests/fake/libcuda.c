/* A driver with one device that copies as told: what tests of probes/copy.c open. */
#include <stdlib.h>
#include <string.h>

int cuInit(unsigned flags);
int cuDeviceGetCount(int *n);
int cuDeviceGet(int *device, int index);
int cuDeviceGetName(char *name, int room, int device);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuDevicePrimaryCtxRelease_v2(int device);
int cuCtxSetCurrent(void *context);
int cuMemAlloc_v2(unsigned long long *address, size_t n_byte);
int cuMemFree_v2(unsigned long long address);
int cuMemHostAlloc(void **p, size_t n_byte, unsigned flags);
int cuMemFreeHost(void *p);
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t n_byte, void *stream);
int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t n_byte, void *stream);
int cuStreamCreate(void **stream, unsigned flags);
int cuStreamDestroy_v2(void *stream);
int cuStreamSynchronize(void *stream);
int cuEventCreate(void **event, unsigned flags);
int cuEventDestroy_v2(void *event);
int cuEventRecord(void *event, void *stream);
int cuEventElapsedTime(float *ms, void *from, void *to);
int cuDeviceGetPCIBusId(char *text, int room, int device);
int cuGetErrorString(int error, const char **text);

static unsigned long long copied; /* bytes, both ways */

/* KVS_FAKE_CUDA names the call that fails. */
static int fails(const char *call)
{
    const char *which = getenv("KVS_FAKE_CUDA");
    return which && strcmp(which, call) == 0 ? 700 : 0;
}

int cuInit(unsigned flags)
{
    (void)flags;
    return fails("cuInit");
}

int cuDeviceGetCount(int *n)
{
    *n = fails("none") ? 0 : 1;
    return 0;
}

int cuDeviceGet(int *device, int index)
{
    *device = index;
    return index == 0 ? 0 : 101;
}

int cuDeviceGetName(char *name, int room, int device)
{
    (void)device;
    strncpy(name, "Fake 9000", (size_t)room);
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{
    (void)device;
    *context = context;
    return 0;
}

int cuDevicePrimaryCtxRelease_v2(int device)
{
    (void)device;
    return 0;
}

int cuCtxSetCurrent(void *context)
{
    (void)context;
    return 0;
}

int cuMemAlloc_v2(unsigned long long *address, size_t n_byte)
{
    *address = (unsigned long long)malloc(n_byte);
    return fails("cuMemAlloc");
}

int cuMemFree_v2(unsigned long long address)
{
    free((void *)address);
    return 0;
}

int cuMemHostAlloc(void **p, size_t n_byte, unsigned flags)
{
    (void)flags;
    *p = malloc(n_byte);
    return 0;
}

int cuMemFreeHost(void *p)
{
    free(p);
    return 0;
}

int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t n_byte, void *stream)
{
    (void)stream;
    memcpy((void *)to, from, n_byte);
    copied += n_byte;
    if (fails("flip"))
        *(char *)to ^= 1;
    return 0;
}

int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t n_byte, void *stream)
{
    (void)stream;
    memcpy(to, (void *)from, n_byte);
    copied += n_byte;
    return 0;
}

int cuStreamCreate(void **stream, unsigned flags)
{
    (void)flags;
    *stream = stream;
    return 0;
}

int cuStreamDestroy_v2(void *stream)
{
    (void)stream;
    return 0;
}

int cuStreamSynchronize(void *stream)
{
    (void)stream;
    return fails("cuStreamSynchronize");
}

int cuGetErrorString(int error, const char **text)
{
    *text = error == 700 ? "made to fail" : NULL;
    return 0;
}

/* The device's clock: what was copied since, at 1 GB/s. Events hold the bytes copied before them.
 */
int cuEventCreate(void **event, unsigned flags)
{
    (void)flags;
    *event = calloc(1, sizeof(unsigned long long));
    return *event ? 0 : 2;
}

int cuEventDestroy_v2(void *event)
{
    free(event);
    return 0;
}

int cuEventRecord(void *event, void *stream)
{
    (void)stream;
    *(unsigned long long *)event = copied;
    return 0;
}

int cuEventElapsedTime(float *ms, void *from, void *to)
{
    *ms = (float)(*(unsigned long long *)to - *(unsigned long long *)from) / 1e6f;
    return fails("cuEventElapsedTime");
}

int cuDeviceGetPCIBusId(char *text, int room, int device)
{
    (void)device;
    strncpy(text, "0000:4F:00.0", (size_t)room);
    return 0;
}
