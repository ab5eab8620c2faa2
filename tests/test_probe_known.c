/*
 * Known answers: a disk that the kernel's block-I/O throttle holds at a rate, and a link that tbf
 * does. What the probes report must be that rate, whatever the machine. Skipped, loudly, where the
 * kernel has none of them, the rights are missing, or the disk is slower than the cap; and unless
 * KVS_KNOWN is set (make known), since windows of 10 s, two minutes in all, are what tells 1 %: the
 * throttle hands out its rate in slices of 100 ms.
 */
#include "test.h"

#include "probes/network.h"
#include "probes/storage.h"
#include "throttle.h"

#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIP_STATUS 77
#define N_RUN 5
#define WINDOW_S 10

static double one_rate(kvs_run_fn *run, void *self, struct kvs_point *p, double secs)
{
    static struct kvs_sample sample;
    struct kvs_err err = {KVS_OK, ""};
    memset(&sample, 0, sizeof sample);
    kvs_hist_init(&sample.lat_ns);
    if (run(self, p, secs, &sample, &err)) {
        fprintf(stderr, "# %s\n", err.msg);
        exit(2);
    }
    return sample.bytes_per_s;
}

/* In a child of its own, which ends with the throttle: 0 good, 1 wrong, 77 skip. */
static int throttled_child(const char *group, const char *file, double cap, uint64_t size,
                           uint64_t depth)
{
    struct kvs_disk_config config = {.dir = "/tmp", .file_bytes = 256 << 20, .seed = 3};
    struct kvs_disk *disk;
    struct kvs_points points = {0, 0, NULL};
    struct kvs_err err = {KVS_OK, ""};
    if (kvs_disk_open(&config, &disk, &err))
        return SKIP_STATUS;
    struct kvs_point *p = kvs_points_add(&points, "storage.read", "disk0");
    p->size_bytes = size;
    p->depth = depth;
    p->jobs = 1;
    double bytes_per_s = cap * (strstr(file, "iops") ? (double)size : 1);
    if (one_rate(kvs_disk_run, disk, p, 0.3) < 1.5 * bytes_per_s)
        return SKIP_STATUS; /* too slow for this cap to be what counts */
    if (!kvs_throttle_enter(group, file, cap))
        return SKIP_STATUS;
    int n_good = 0;
    one_rate(kvs_disk_run, disk, p, 1); /* what the throttle had saved up is spent */
    for (int i = 0; i < N_RUN; i++) {
        double rate = one_rate(kvs_disk_run, disk, p, WINDOW_S);
        fprintf(stderr, "# %s %.0f: %.4f of it\n", file, cap, rate / bytes_per_s);
        n_good += fabs(rate / bytes_per_s - 1) <= 0.01;
    }
    kvs_disk_close(disk);
    kvs_points_free(&points);
    return n_good == N_RUN ? 0 : 1;
}

static void check_throttle(const char *file, double cap, uint64_t size, uint64_t depth)
{
    char group[KVS_THROTTLE_MAX];
    int status;
    if (!getenv("KVS_KNOWN"))
        KVS_SKIP("known answers take two quiet minutes: make known");
    if (!kvs_throttle_make(group))
        KVS_SKIP("no block-I/O throttle (cgroup v1 blkio) that we may use");
    pid_t child = fork();
    if (child == 0)
        _exit(throttled_child(group, file, cap, size, depth));
    assert_int_equal(waitpid(child, &status, 0), child);
    kvs_throttle_remove(group);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIP_STATUS)
        KVS_SKIP("this disk cannot be throttled, or is slower than %.0f", cap);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_throttle_of_400_mib_per_s_is_reported_within_1_percent(void **state)
{
    (void)state;
    check_throttle("blkio.throttle.read_bps_device", 400.0 * 1048576, 256 << 10, 16);
}

static void a_throttle_of_5000_iops_is_reported_within_1_percent(void **state)
{
    (void)state;
    check_throttle("blkio.throttle.read_iops_device", 5000, 4096, 32);
}

/* --- a link of known rate
 * ------------------------------------------------------------------------- */

static bool shell(const char *command)
{
    return system(command) == 0; /* NOLINT(bugprone-command-processor) */
}

/* The peer, in a network namespace of its own; tells when the namespace is there, serves when the
 * link is. */
static void serve_in_namespace(int ready_fd, int go_fd)
{
    struct kvs_server *server;
    char c = 0;
    if (unshare(CLONE_NEWNET) != 0)
        _exit(SKIP_STATUS);
    /* BBR sends next to nothing for 200 ms of every 10 s; the namespace's own setting */
    (void)!shell("echo reno >/proc/sys/net/ipv4/tcp_congestion_control");
    (void)!write(ready_fd, &c, 1);
    if (read(go_fd, &c, 1) != 1)
        _exit(0);
    if (!shell("ip addr add 10.77.0.2/24 dev kvp1 && ip link set kvp1 up") ||
        !shell(
            "tc qdisc add dev kvp1 root tbf rate $KVS_RATE burst 1mb latency 50ms 2>/dev/null") ||
        kvs_server_start("10.77.0.2", 7777, &server, NULL))
        _exit(SKIP_STATUS);
    (void)!write(ready_fd, &c, 1);
    (void)!read(go_fd, &c, 1); /* until the other end closes */
    _exit(0);
}

static int shaped_child(double bits_per_s)
{
    int ready[2], go[2];
    char command[128], c = 0;
    if (unshare(CLONE_NEWNET) != 0 || pipe(ready) != 0 || pipe(go) != 0)
        return SKIP_STATUS;
    snprintf(command, sizeof command, "%.0f", bits_per_s);
    setenv("KVS_RATE", command, 1);
    pid_t peer = fork();
    if (peer == 0) {
        close(go[1]);
        serve_in_namespace(ready[1], go[0]);
    }
    close(ready[1]);
    close(go[0]);
    if (read(ready[0], &c, 1) != 1)
        return SKIP_STATUS;
    snprintf(command, sizeof command,
             "ip link add kvp0 type veth peer name kvp1 netns %d 2>/dev/null", (int)peer);
    if (!shell(command) || !shell("ip addr add 10.77.0.1/24 dev kvp0 && ip link set kvp0 up"))
        return SKIP_STATUS;
    if (write(go[1], &c, 1) != 1 || read(ready[0], &c, 1) != 1)
        return SKIP_STATUS;
    struct kvs_net_config config = {.peer = "10.77.0.2", .port = 7777, .transport = "tcp"};
    struct kvs_points points = {0, 0, NULL};
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_net *net;
    if (kvs_net_open(&config, &net, &err)) {
        fprintf(stderr, "# %s\n", err.msg);
        return 1;
    }
    struct kvs_point *p = kvs_points_add(&points, "network.read", "10.77.0.2");
    p->size_bytes = 256 << 10;
    p->depth = 64; /* enough under way that a late wake-up does not empty the line */
    /* of each 1514 bytes on the wire 1448 are payload: Ethernet, IP and TCP with timestamps */
    double want = bits_per_s / 8 * 1448 / 1514;
    int n_good = 0, n_run = 3;
    one_rate(kvs_net_run, net, p, 1);
    for (int i = 0; i < n_run; i++) {
        double rate = one_rate(kvs_net_run, net, p, 3);
        fprintf(stderr, "# tbf %.0f: %.4f of its payload\n", bits_per_s, rate / want);
        n_good += fabs(rate / want - 1) <= 0.03;
    }
    kvs_net_close(net);
    kvs_points_free(&points);
    close(go[1]);
    waitpid(peer, NULL, 0);
    return n_good == n_run ? 0 : 1;
}

static void check_link(double bits_per_s)
{
    int status;
    if (!getenv("KVS_KNOWN"))
        KVS_SKIP("known answers take two quiet minutes: make known");
    if (geteuid() != 0 || !shell("command -v tc >/dev/null && command -v ip >/dev/null"))
        KVS_SKIP("no ip and tc, or no rights, for a shaped link");
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        _exit(shaped_child(bits_per_s));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIP_STATUS)
        KVS_SKIP("no network namespaces, veth or tbf here");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_link_of_1_gbit_per_s_is_reported_within_3_percent(void **state)
{
    (void)state;
    check_link(1e9);
}

static void a_link_of_2_gbit_per_s_is_reported_within_3_percent(void **state)
{
    (void)state;
    check_link(2e9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_throttle_of_400_mib_per_s_is_reported_within_1_percent),
        cmocka_unit_test(a_throttle_of_5000_iops_is_reported_within_1_percent),
        cmocka_unit_test(a_link_of_1_gbit_per_s_is_reported_within_3_percent),
        cmocka_unit_test(a_link_of_2_gbit_per_s_is_reported_within_3_percent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
