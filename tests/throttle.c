#include "throttle.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define GROUP "/sys/fs/cgroup/blkio/kvprobe-test"

/* Writes a line to a file of the group. */
static bool put(const char *group, const char *file, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", group, file);
    FILE *f = fopen(path, "w");
    if (!f)
        return false;
    bool good = fputs(text, f) >= 0;
    return fclose(f) == 0 && good;
}

/* The whole disk under /tmp, "254:0"; false: none that could be throttled. */
static bool find_disk(char text[32])
{
    struct stat st;
    char path[64];
    if (stat("/tmp", &st) != 0 || major(st.st_dev) == 0)
        return false;
    snprintf(text, 32, "%u:%u", major(st.st_dev), minor(st.st_dev));
    snprintf(path, sizeof path, "/sys/dev/block/%s/partition", text);
    return access(path, F_OK) != 0;
}

bool kvs_throttle_make(char group[KVS_THROTTLE_MAX])
{
    char dev[32];
    snprintf(group, KVS_THROTTLE_MAX, GROUP "-%ld", (long)getpid());
    return geteuid() == 0 && find_disk(dev) && mkdir(group, 0755) == 0;
}

bool kvs_throttle_enter(const char *group, const char *file, double cap)
{
    char dev[32], line[64];
    if (!find_disk(dev))
        return false;
    snprintf(line, sizeof line, "%s %.0f", dev, cap);
    return put(group, file, line) && put(group, "cgroup.procs", "0");
}

void kvs_throttle_remove(const char *group)
{
    for (int i = 0; i < 50 && rmdir(group) != 0 && errno == EBUSY; i++)
        usleep(20000);
}
