/* What a profile says of the machine it was measured on. Names and serials are hashed. */
#include "profile.h"

#include "base/map.h"

#include <hwloc.h>
#include <liburing.h>
#include <rdma/fabric.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The first line of a file, without its end; "" if it cannot be read. */
static const char *line_of(const char *path, char *buf, size_t room)
{
    FILE *file = fopen(path, "r");
    buf[0] = 0;
    if (!file)
        return buf;
    if (!fgets(buf, (int)room, file))
        buf[0] = 0;
    buf[strcspn(buf, "\n")] = 0;
    fclose(file);
    return buf;
}

static json_t *line_json(const char *path)
{
    char buf[256];
    return line_of(path, buf, sizeof buf)[0] ? json_string(buf) : json_null();
}

/* A field of /proc/cpuinfo ("model name"), of its first processor. */
static void cpu_field(const char *field, char *buf, size_t room)
{
    char line[4096];
    FILE *file = fopen("/proc/cpuinfo", "r");
    buf[0] = 0;
    while (file && fgets(line, sizeof line, file)) {
        const char *at = strchr(line, ':');
        if (strncmp(line, field, strlen(field)) != 0 || !at)
            continue;
        snprintf(buf, room, "%s", at + 2);
        buf[strcspn(buf, "\n")] = 0;
        break;
    }
    if (file)
        fclose(file);
}

void kvs_profile_host_name(char *buf, size_t room)
{
    char id[256];
    uint64_t hash = 0;
    line_of("/etc/machine-id", id, sizeof id);
    if (!id[0])
        gethostname(id, sizeof id - 1);
    for (const char *c = id; *c; c++)
        hash = kvs_chain(hash, (unsigned char)*c);
    snprintf(buf, room, "host-%08llx", (unsigned long long)(hash & 0xffffffffu));
}

/* The block device that dir lies on: queue settings, model. */
static json_t *disk_json(const char *dir)
{
    struct stat st;
    char base[64], up[80], path[160], model[256];
    if (!dir || stat(dir, &st) != 0)
        return json_null();
    snprintf(base, sizeof base, "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
    snprintf(path, sizeof path, "%s/queue", base);
    snprintf(up, sizeof up, "%s%s", base, access(path, F_OK) == 0 ? "" : "/.."); /* a partition */
    snprintf(path, sizeof path, "%s/device/model", up);
    line_of(path, model, sizeof model);
    json_t *json = json_pack("{so}", "model", model[0] ? json_string(model) : json_null());
    static const char *const settings[] = {"scheduler",  "read_ahead_kb", "nr_requests",
                                           "rotational", "write_cache",   "logical_block_size"};
    for (size_t i = 0; json && i < sizeof settings / sizeof *settings; i++) {
        snprintf(path, sizeof path, "%s/queue/%s", up, settings[i]);
        json_object_set_new(json, settings[i], line_json(path));
    }
    return json;
}

json_t *kvs_profile_env(const char *dir)
{
    struct utsname u;
    char cpu[256], flags[4096], host[32], lib[3][32];
    uint32_t fabric = fi_version();
    cpu_field("model name", cpu, sizeof cpu);
    cpu_field("flags", flags, sizeof flags);
    kvs_profile_host_name(host, sizeof host);
    if (uname(&u) != 0)
        memset(&u, 0, sizeof u);
#ifdef IO_URING_VERSION_MAJOR
    snprintf(lib[0], sizeof lib[0], "%d.%d", IO_URING_VERSION_MAJOR, IO_URING_VERSION_MINOR);
#else
    snprintf(lib[0], sizeof lib[0], "older than 2.4"); /* they do not tell */
#endif
    snprintf(lib[1], sizeof lib[1], "%u.%u", FI_MAJOR(fabric), FI_MINOR(fabric));
    snprintf(lib[2], sizeof lib[2], "%u.%u", hwloc_get_api_version() >> 16,
             hwloc_get_api_version() >> 8 & 0xff);
    return json_pack("{ss ss ss ss so so so s{ss ss ss} so}", "host_id_hash", host, "kernel",
                     u.release, "cpu", cpu, "virt", strstr(flags, " hypervisor") ? "guest" : "none",
                     "governor", line_json("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
                     "thp", line_json("/sys/kernel/mm/transparent_hugepage/enabled"),
                     "tcp_congestion_control",
                     line_json("/proc/sys/net/ipv4/tcp_congestion_control"), "libs", "liburing",
                     lib[0], "libfabric", lib[1], "hwloc", lib[2], "disk", disk_json(dir));
}
