/* A driver that starts, and counts no device: error 100, CUDA_ERROR_NO_DEVICE. */
#include <stdint.h>
#include <string.h>

int cuInit(unsigned flags);
int cuDriverGetVersion(int *version);
int cuGetProcAddress_v2(const char *name, void **at, int version, uint64_t flags, int *status);

static int no_device(void)
{
    return 100;
}

int cuInit(unsigned flags)
{
    (void)flags;
    return no_device();
}

int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return 0;
}

int cuGetProcAddress_v2(const char *name, void **at, int version, uint64_t flags, int *status)
{
    (void)version, (void)flags;
    if (strcmp(name, "cuInit") == 0)
        *(int (**)(unsigned))at = cuInit;
    else if (strcmp(name, "cuDriverGetVersion") == 0)
        *(int (**)(int *))at = cuDriverGetVersion;
    else if (strcmp(name, "cuGetProcAddress") == 0)
        *(int (**)(const char *, void **, int, uint64_t, int *))at = cuGetProcAddress_v2;
    else
        *(int (**)(void))at = no_device;
    if (status)
        *status = 0;
    return 0;
}
