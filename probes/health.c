/* The hooks of the real machine: what /proc and the scheduler say around a repeat. */
#include "measure.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CANARY_NS 2000000 /* how long the canary spins */
#define GAP_NS 20000      /* a gap above this is somebody else's time slice */

int64_t kvs_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double kvs_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double epoch_s(void *self)
{
    struct timespec t;
    (void)self;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double spin_gap_frac(void)
{
    struct kvs_gaps gaps = {0, 0, 0, 0};
    do
        kvs_gaps_see(&gaps, kvs_now_ns(), GAP_NS);
    while (gaps.last_ns - gaps.first_ns < CANARY_NS);
    return kvs_gaps_frac(&gaps);
}

/* Microseconds in which some task waited for a core; -1: this kernel does not tell. */
static double psi_us(void)
{
    char line[256];
    unsigned long long total;
    double us = -1;
    FILE *file = fopen("/proc/pressure/cpu", "r");
    if (!file)
        return -1;
    if (fgets(line, sizeof line, file)) {
        const char *at = strstr(line, "total=");
        if (at && sscanf(at, "total=%llu", &total) == 1)
            us = (double)total;
    }
    fclose(file);
    return us;
}

/* Ticks stolen and in all, of all cores; runnable tasks. -1 where not told. */
static void read_stat(double *steal, double *total, double *n_runnable)
{
    char line[512];
    unsigned long long t[8] = {0};
    unsigned n;
    FILE *file = fopen("/proc/stat", "r");
    *steal = *total = *n_runnable = -1;
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3],
                   &t[4], &t[5], &t[6], &t[7]) == 8) {
            *steal = (double)t[7];
            *total = 0;
            for (int i = 0; i < 8; i++)
                *total += (double)t[i];
        } else if (sscanf(line, "procs_running %u", &n) == 1) {
            *n_runnable = n;
        }
    }
    fclose(file);
}

static double nivcsw(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_nivcsw : -1;
}

static void before(void *self, struct kvs_health *health)
{
    struct kvs_machine *m = self;
    health->gap_frac = spin_gap_frac();
    read_stat(&m->steal, &m->total, &health->n_runnable);
    m->psi_us = psi_us();
    m->nivcsw = nivcsw();
    m->at_s = epoch_s(NULL);
}

static void after(void *self, struct kvs_health *health)
{
    const struct kvs_machine *m = self;
    double steal, total, n_runnable, psi = psi_us(), secs = epoch_s(NULL) - m->at_s;
    read_stat(&steal, &total, &n_runnable);
    if (psi >= 0 && m->psi_us >= 0 && secs > 0)
        health->psi_cpu_frac = (psi - m->psi_us) / 1e6 / secs;
    if (steal >= 0 && total > m->total)
        health->steal_frac = (steal - m->steal) / (total - m->total);
    if (m->nivcsw >= 0)
        health->nivcsw = nivcsw() - m->nivcsw;
}

static bool stopped(void *self)
{
    const struct kvs_machine *m = self;
    return m->stop && *m->stop;
}

struct kvs_hooks kvs_machine_hooks(struct kvs_machine *machine, const volatile int *stop)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    memset(machine, 0, sizeof *machine);
    machine->stop = stop;
    return (struct kvs_hooks){
        machine, stopped, epoch_s, before, after, NULL, n > 0 ? (unsigned)n : 1};
}
