/* An NVML with one device, throttled by power. */
#include <stdlib.h>
#include <string.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlSystemGetDriverVersion(char *text, unsigned room);
int nvmlDeviceGetCount_v2(unsigned *n);
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device);
int nvmlDeviceGetName(void *device, char *text, unsigned room);
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz);
int nvmlDeviceGetEccMode(void *device, int *current, int *pending);
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *bits);

int nvmlInit_v2(void)
{
    return getenv("KVS_FAKE_NVML") ? 9 : 0;
}

int nvmlShutdown(void)
{
    return 0;
}

int nvmlSystemGetDriverVersion(char *text, unsigned room)
{
    strncpy(text, "999.1", room);
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *n)
{
    *n = 1;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device)
{
    *device = device;
    return i ? 2 : 0;
}

int nvmlDeviceGetName(void *device, char *text, unsigned room)
{
    (void)device;
    strncpy(text, "Fake 9000", room);
    return 0;
}

int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz)
{
    (void)device;
    *mhz = 1980;
    return type == 1 ? 0 : 2;
}

int nvmlDeviceGetEccMode(void *device, int *current, int *pending)
{
    (void)device;
    (void)current;
    (void)pending;
    return 3; /* not supported: the profile must say null */
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *bits)
{
    (void)device;
    *bits = 4;
    return 0;
}
