/*
 * The storage probe beside fio, the TCP probe beside iperf3 and the RMA probe beside fi_pingpong:
 * interleaved pairs on the same settings, the median of the ratios with its bootstrap interval, and
 * CPU for each I/O. KVS_PAIRS pairs (20) of KVS_PAIR_S seconds (5); KVS_ANCHOR names the only one
 * to run (fio, throttle, iperf3, fi_pingpong). What is not installed is named and left out.
 * fi_pingpong spins at both ends: on fewer than two idle cores its figures say nothing.
 */
#include "base/hist.h"
#include "base/json.h"
#include "probes/network.h"
#include "probes/storage.h"
#include "throttle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIO_FILE "/tmp/kvprobe-bench.fio"

static struct kvs_sample sample;

static double env_or(const char *name, double value)
{
    const char *text = getenv(name);
    return text ? strtod(text, NULL) : value;
}

static void line(const char *what, double value, const char *unit, const char *goal)
{
    printf("{\"bench\": \"probe\", \"what\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"goal\": "
           "\"%s\"}\n",
           what, value, unit, goal);
    fflush(stdout);
}

static void report(const char *what, const double *ratio, unsigned n, const char *goal)
{
    struct kvs_summary s = kvs_summarize(ratio, n, 1);
    printf("{\"bench\": \"probe\", \"what\": \"%s\", \"value\": %.4f, \"ci95\": [%.4f, %.4f], "
           "\"pairs\": %u, "
           "\"unit\": \"ratio\", \"goal\": \"%s\"}\n",
           what, s.median, s.ci95[0], s.ci95[1], n, goal);
    fflush(stdout);
}

/* A command's standard output, which the caller frees; NULL if it fails. */
static char *output_of(const char *command)
{
    size_t room = 1 << 20, n;
    char *text = malloc(room);
    FILE *pipe = popen(command, "r"); /* NOLINT(cert-env33-c): the benchmark's own command */
    if (!pipe || !text) {
        free(text);
        return NULL;
    }
    n = fread(text, 1, room - 1, pipe);
    text[n] = 0;
    if (pclose(pipe) == 0)
        return text;
    free(text);
    return NULL;
}

static struct kvs_point *point(struct kvs_points *points, const char *probe, uint64_t size,
                               uint64_t depth)
{
    struct kvs_point *p = kvs_points_add(points, probe, "bench");
    if (!p)
        exit(1);
    p->size_bytes = size;
    p->depth = depth;
    p->jobs = 1;
    return p;
}

static bool run(kvs_run_fn *fn, void *self, struct kvs_point *p, double secs)
{
    struct kvs_err err = {KVS_OK, ""};
    memset(&sample, 0, sizeof sample);
    kvs_hist_init(&sample.lat_ns);
    if (fn(self, p, secs, &sample, &err) == KVS_OK)
        return true;
    fprintf(stderr, "bench_probe: %s\n", err.msg);
    return false;
}

/* --- fio
 * ------------------------------------------------------------------------------------------ */

struct fio {
    double bytes_per_s, cpu_ns_per_io, p50_ns;
};

static bool run_fio(uint64_t size, uint64_t depth, double secs, struct fio *out)
{
    char command[512];
    struct kvs_doc *doc;
    snprintf(command, sizeof command,
             "fio --name=b --filename=" FIO_FILE
             " --size=512m --rw=randread --bs=%llu --iodepth=%llu "
             "--ioengine=io_uring --direct=1 --fixedbufs=1 --registerfiles=1 --time_based "
             "--runtime=%.0f "
             "--ramp_time=1 --norandommap --randrepeat=0 --lat_percentiles=1 --output-format=json "
             "2>/dev/null",
             (unsigned long long)size, (unsigned long long)depth, secs);
    char *text = output_of(command);
    if (!text || kvs_doc_parse("fio", text, strlen(text), &doc, NULL)) {
        free(text);
        return false;
    }
    struct kvs_json job = kvs_json_at(kvs_json_get(kvs_doc_root(doc), "jobs"), 0);
    struct kvs_json read = kvs_json_get(job, "read");
    double ios = json_number_value(kvs_json_get(read, "total_ios").v);
    double ms = json_number_value(kvs_json_get(read, "runtime").v);
    double cpu = json_number_value(kvs_json_get(job, "usr_cpu").v) +
                 json_number_value(kvs_json_get(job, "sys_cpu").v);
    out->bytes_per_s = json_number_value(kvs_json_get(read, "bw_bytes").v);
    out->p50_ns = json_number_value(
        kvs_json_get(kvs_json_get(kvs_json_get(read, "lat_ns"), "percentile"), "50.000000").v);
    out->cpu_ns_per_io = ios > 0 ? cpu / 100 * ms * 1e6 / ios : 0;
    kvs_doc_free(doc);
    free(text);
    return out->bytes_per_s > 0;
}

static void bench_fio(const char *what_disk, uint64_t size, uint64_t depth, unsigned n_pair,
                      double secs)
{
    /* the same file, which fio lays out: two files may differ in what some cache below holds */
    struct kvs_disk_config config = {.target = FIO_FILE, .seed = 1};
    struct kvs_disk *disk;
    struct fio fio;
    struct kvs_points points = {0, 0, NULL};
    double ratio[KVS_MAX_REPEAT], cpu[KVS_MAX_REPEAT], p50[KVS_MAX_REPEAT];
    bool throttled = what_disk[0] != 0;
    char what[128];
    unsigned n = 0;
    if (!run_fio(size, depth, 1, &fio) || kvs_disk_open(&config, &disk, NULL)) {
        fprintf(stderr, "bench_probe: fio made no " FIO_FILE "\n");
        return;
    }
    struct kvs_point *p = point(&points, "storage.read", size, depth);
    for (unsigned i = 0; i < n_pair; i++) {
        bool first = i % 2; /* who goes first changes */
        if ((first && !run_fio(size, depth, secs, &fio)) || !run(kvs_disk_run, disk, p, secs) ||
            (!first && !run_fio(size, depth, secs, &fio)))
            break;
        ratio[n] = sample.bytes_per_s / fio.bytes_per_s;
        p50[n] = (double)kvs_hist_percentile(&sample.lat_ns, 50) / fio.p50_ns;
        cpu[n++] = sample.cpu_ns / (double)sample.ops / fio.cpu_ns_per_io;
    }
    if (n) {
        const struct {
            const char *says, *goal;
            const double *ratio;
        } lines[] = {
            {"bytes per second", throttled ? "0.98 to 1.02" : "interval reaches 0.98", ratio},
            {"median latency", throttled ? "0.9 to 1.1" : "told", p50},
            {"CPU an I/O", size == 4096 && !throttled ? "at most 1" : "told", cpu}};
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            snprintf(what, sizeof what, "storage.read %llu x %llu%s over fio, %s",
                     (unsigned long long)size, (unsigned long long)depth, what_disk, lines[i].says);
            report(what, lines[i].ratio, n, lines[i].goal);
        }
    }
    kvs_points_free(&points);
    kvs_disk_close(disk);
}

/* Both under a throttle of 5000 reads a second, in a child, since nobody leaves the throttle alive.
 */
static void bench_throttled(unsigned n_pair, double secs)
{
    char group[KVS_THROTTLE_MAX];
    int status = 1;
    if (!kvs_throttle_make(group)) {
        line("no block-I/O throttle (cgroup v1 blkio, root) here", 0, "pairs", "20");
        return;
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!kvs_throttle_enter(group, "blkio.throttle.read_iops_device", 5000))
            _exit(1);
        bench_fio(" under 5000 IOPS", 4096, 32, n_pair, secs);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        line("this disk cannot be throttled", 0, "pairs", "20");
    kvs_throttle_remove(group);
}

/* --- iperf3
 * --------------------------------------------------------------------------------------- */

static double run_iperf(double secs)
{
    char command[160];
    struct kvs_doc *doc;
    snprintf(command, sizeof command,
             "iperf3 -s -1 -p 18599 >/dev/null 2>&1 & sleep 0.3; iperf3 -c 127.0.0.1 -p 18599 -R "
             "-t %.0f -J",
             secs);
    char *text = output_of(command);
    if (!text || kvs_doc_parse("iperf3", text, strlen(text), &doc, NULL)) {
        free(text);
        return 0;
    }
    struct kvs_json sum = kvs_json_get(kvs_json_get(kvs_doc_root(doc), "end"), "sum_received");
    double rate = json_number_value(kvs_json_get(sum, "bits_per_second").v) / 8;
    kvs_doc_free(doc);
    free(text);
    return rate;
}

/* Our rate over another tool's, on one transport: reads of size, depth of them in flight, out of
 * the server's first span bytes. */
static void bench_net(const char *what, const struct kvs_net_config *config, uint64_t size,
                      uint64_t depth, uint64_t span, double (*other)(double secs), unsigned n_pair,
                      double secs)
{
    struct kvs_points points = {0, 0, NULL};
    double ratio[KVS_MAX_REPEAT];
    unsigned n = 0;
    struct kvs_net *net;
    struct kvs_err err = {KVS_OK, ""};
    if (kvs_net_open(config, &net, &err)) {
        fprintf(stderr, "bench_probe: %s\n", err.msg);
        return;
    }
    struct kvs_point *p = point(&points, "network.read", size, depth);
    if (!kvs_point_set(p, "span_bytes", json_integer((json_int_t)span)))
        exit(1);
    for (unsigned i = 0; i < n_pair; i++) {
        double rate = i % 2 ? other(secs) : 0;
        if (!run(kvs_net_run, net, p, secs))
            break;
        rate = i % 2 ? rate : other(secs);
        if (rate <= 0)
            break;
        ratio[n++] = sample.bytes_per_s / rate;
    }
    if (n)
        report(what, ratio, n, "0.95 or more");
    kvs_points_free(&points);
    kvs_net_close(net);
}

/* --- fi_pingpong
 * ---------------------------------------------------------------------------------- */

/* Bytes per second of 1 MiB messages that go to and fro. It takes a number of rounds: 2000 a second
 * are about what they need. */
static double run_pingpong(double secs)
{
    char command[320];
    double rate = 0;
    snprintf(command, sizeof command,
             "timeout 120 fi_pingpong -p 'tcp;ofi_rxm' -e rdm -S 1048576 -I %.0f >/dev/null 2>&1 & "
             "sleep 0.5; timeout 120 fi_pingpong -p 'tcp;ofi_rxm' -e rdm -S 1048576 -I %.0f "
             "127.0.0.1 2>/dev/null; wait",
             secs * 1000, secs * 1000);
    char *text = output_of(command);
    const char *row = text ? strstr(text, "\n1m") : NULL;
    if (row && sscanf(row, "%*s %*s %*s %*s %*s %lf", &rate) == 1)
        rate *= 1e6;
    free(text);
    return rate;
}

static bool is_there(const char *command)
{
    char text[96];
    snprintf(text, sizeof text, "command -v %s >/dev/null", command);
    int status = system(text); /* NOLINT(cert-env33-c) */
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool is_wanted(const char *anchor, const char *command)
{
    const char *only = getenv("KVS_ANCHOR");
    if (only && strcmp(only, anchor) != 0)
        return false;
    if (is_there(command))
        return true;
    char text[96];
    snprintf(text, sizeof text, "%s is not here (Debian has it)", command);
    line(text, 0, "pairs", "20");
    return false;
}

int main(void)
{
    unsigned n_pair = (unsigned)env_or("KVS_PAIRS", 20);
    double secs = env_or("KVS_PAIR_S", 5);
    struct kvs_net_config tcp = {.transport = "tcp"};
    struct kvs_net_config rma = {.transport = "tcp;ofi_rxm", .wait = KVS_WAIT_POLL};
    n_pair = n_pair < KVS_MAX_REPEAT ? n_pair : KVS_MAX_REPEAT;
    if (is_wanted("fio", "fio")) {
        bench_fio("", 4096, 64, n_pair, secs);
        bench_fio("", 1 << 20, 16, n_pair, secs);
    }
    if (is_wanted("throttle", "fio"))
        bench_throttled(n_pair, secs);
    unlink(FIO_FILE);
    /* iperf3 sends one buffer of 128 KiB again and again: what lies in a cache, as here */
    if (is_wanted("iperf3", "iperf3"))
        bench_net("network.read tcp 128 KiB x 4 over iperf3, loopback, source in cache", &tcp,
                  128 << 10, 4, 128 << 10, run_iperf, n_pair, secs);
    if (is_wanted("fi_pingpong", "fi_pingpong"))
        bench_net("network.read tcp;ofi_rxm 1 MiB x 1 over fi_pingpong, loopback", &rma, 1 << 20, 1,
                  1 << 20, run_pingpong, n_pair, secs);
    return 0;
}
