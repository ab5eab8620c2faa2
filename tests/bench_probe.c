/*
 * The storage probe beside fio and the TCP probe beside iperf3: interleaved pairs on the same
 * settings, the median of the ratios with its bootstrap interval, and CPU for each I/O. KVS_PAIRS
 * pairs (20) of KVS_PAIR_S seconds (5). What is not installed is named and left out.
 */
#include "base/hist.h"
#include "base/json.h"
#include "probes/network.h"
#include "probes/storage.h"

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
    double bytes_per_s, cpu_ns_per_io;
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
    out->cpu_ns_per_io = ios > 0 ? cpu / 100 * ms * 1e6 / ios : 0;
    kvs_doc_free(doc);
    free(text);
    return out->bytes_per_s > 0;
}

static void bench_fio(uint64_t size, uint64_t depth, unsigned n_pair, double secs)
{
    /* the same file, which fio lays out: two files may differ in what some cache below holds */
    struct kvs_disk_config config = {.target = FIO_FILE, .seed = 1};
    struct kvs_disk *disk;
    struct fio fio;
    struct kvs_points points = {0, 0, NULL};
    double ratio[KVS_MAX_REPEAT], cpu[KVS_MAX_REPEAT];
    char what[96];
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
        cpu[n++] = sample.cpu_ns / (double)sample.ops / fio.cpu_ns_per_io;
    }
    if (n) {
        snprintf(what, sizeof what, "storage.read %llu x %llu over fio, bytes per second",
                 (unsigned long long)size, (unsigned long long)depth);
        report(what, ratio, n, "interval reaches 0.98");
        snprintf(what, sizeof what, "storage.read %llu x %llu over fio, CPU an I/O",
                 (unsigned long long)size, (unsigned long long)depth);
        report(what, cpu, n, "at most 1");
    }
    kvs_points_free(&points);
    kvs_disk_close(disk);
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

static void bench_iperf(unsigned n_pair, double secs)
{
    struct kvs_net_config config = {.transport = "tcp"};
    struct kvs_points points = {0, 0, NULL};
    double ratio[KVS_MAX_REPEAT];
    unsigned n = 0;
    struct kvs_net *net;
    if (kvs_net_open(&config, &net, NULL))
        return;
    struct kvs_point *p = point(&points, "network.read", 128 << 10, 16);
    for (unsigned i = 0; i < n_pair; i++) {
        double iperf = i % 2 ? run_iperf(secs) : 0;
        if (!run(kvs_net_run, net, p, secs))
            break;
        iperf = i % 2 ? iperf : run_iperf(secs);
        if (iperf <= 0)
            break;
        ratio[n++] = sample.bytes_per_s / iperf;
    }
    if (n)
        report("network.read tcp 128 KiB x 16 over iperf3, loopback", ratio, n, "0.95 or more");
    kvs_points_free(&points);
    kvs_net_close(net);
}

static bool is_there(const char *command)
{
    char text[96];
    snprintf(text, sizeof text, "command -v %s >/dev/null", command);
    int status = system(text); /* NOLINT(cert-env33-c) */
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(void)
{
    unsigned n_pair = (unsigned)env_or("KVS_PAIRS", 20);
    double secs = env_or("KVS_PAIR_S", 5);
    n_pair = n_pair < KVS_MAX_REPEAT ? n_pair : KVS_MAX_REPEAT;
    if (is_there("fio")) {
        bench_fio(4096, 64, n_pair, secs);
        bench_fio(1 << 20, 16, n_pair, secs);
        unlink(FIO_FILE);
    } else {
        line("fio is not here (apt-get install fio)", 0, "pairs", "20");
    }
    if (is_there("iperf3"))
        bench_iperf(n_pair, secs);
    else
        line("iperf3 is not here (apt-get install iperf3)", 0, "pairs", "20");
    return 0;
}
