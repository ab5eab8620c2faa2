/*
 * CPU prefill of SmolLM2-135M beside llama.cpp as PyPI's llama-cpp-python builds it: the same
 * threads, rounds interleaved, best of each. $KVS_LLAMA_PYTHON names a python3 that has
 * llama-cpp-python, gguf and numpy; without it, or without the model (make models), this skips and
 * says so. $KVS_PEER_THREADS: 1 if not set. On a busy machine KVS_BENCH_CPU=1 counts seconds of
 * CPU, of both, instead of the clock's.
 */
#include "kernels/forward.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char shipped[] = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
static const char unpacked[] = "models/SmolLM2-135M-Instruct.F32.gguf";
enum { MOST_TOK = 2048 };

struct peer {
    pid_t pid;
    FILE *to, *from;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_peer: %s\n", what);
    exit(1);
}

static void must(enum kvs_code code, const struct kvs_err *err)
{
    if (code)
        die(err->msg);
}

static struct peer start(const char *python, const char *model, const char *n_thread)
{
    int in[2], out[2];
    char line[64] = "";
    struct peer peer;

    /* closed in the other peer: an end left open there would keep this one from ending */
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
        die("no pipe");
    peer.pid = fork();
    if (peer.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execl(python, python, "tests/peer_llama.py", model, n_thread, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    peer.to = fdopen(in[1], "w");
    peer.from = fdopen(out[0], "r");
    if (peer.pid < 0 || !peer.to || !peer.from || !fgets(line, sizeof line, peer.from) ||
        strncmp(line, "ready", 5) != 0)
        die("llama.cpp does not start");
    return peer;
}

static double peer_s(struct peer *peer, uint32_t n_tok)
{
    char line[64];

    if (fprintf(peer->to, "%u\n", n_tok) < 0 || fflush(peer->to) ||
        !fgets(line, sizeof line, peer->from))
        die("llama.cpp has gone");
    char *cpu = NULL;
    double clock_s = strtod(line, &cpu);
    return getenv("KVS_BENCH_CPU") ? strtod(cpu, NULL) : clock_s;
}

static void stop(struct peer *peer)
{
    (void)fclose(peer->to);
    (void)fclose(peer->from);
    (void)waitpid(peer->pid, NULL, 0);
}

static double now_s(void)
{
    struct timespec at;

    clock_gettime(getenv("KVS_BENCH_CPU") ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static void line(const char *what, uint32_t n_tok, const char *n_thread, double value,
                 const char *unit, double goal)
{
    printf("{\"bench\": \"peer\", \"what\": \"%s, %u tokens, %s threads%s\", \"value\": %.6g, "
           "\"unit\": \"%s\", \"goal\": %.6g}\n",
           what, n_tok, n_thread, getenv("KVS_BENCH_CPU") ? ", by CPU time" : "", value, unit,
           goal);
}

struct ours {
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    struct kvs_forward *forward;
    float *logits;
    uint32_t tok[MOST_TOK];
};

static void ours_new(struct ours *o, const char *model, const char *n_thread)
{
    struct kvs_forward_opt opt = {MOST_TOK, MOST_TOK, 1, KVS_F32, KVS_F32, KVS_F32};
    struct kvs_weights *weights;
    struct kvs_err err = {0};
    char wish[32];

    snprintf(wish, sizeof wish, "threads=%s", n_thread);
    setenv("KVS_CPU", wish, 1);
    must(kvs_dev_open("cpu", 0, 0, &o->dev, &err), &err);
    must(kvs_stream_new(o->dev, &o->stream, &err), &err);
    must(kvs_weights_open(model, &weights, &err), &err);
    must(kvs_forward_new(o->dev, weights, &opt, &o->forward, &err), &err);
    uint32_t n_vocab = kvs_weights_shape(weights)->n_vocab;
    o->logits = malloc(n_vocab * sizeof *o->logits);
    for (uint32_t i = 0; i < MOST_TOK; i++)
        o->tok[i] = i * 7919 % n_vocab;
    kvs_weights_close(weights);
}

static double ours_s(struct ours *o, uint32_t n_tok)
{
    struct kvs_err err = {0};
    double from_s = now_s();

    must(kvs_forward_prefill(o->forward, o->stream, o->tok, 0, n_tok, o->logits, &err), &err);
    return now_s() - from_s;
}

int main(void)
{
    static struct ours ours;
    const char *python = getenv("KVS_LLAMA_PYTHON"), *n_thread = getenv("KVS_PEER_THREADS");
    char command[512];

    if (!python || access(shipped, R_OK) != 0) {
        fprintf(stderr, "# bench_peer SKIPPED: %s\n",
                python ? "no model: make models" : "KVS_LLAMA_PYTHON is not set");
        return 0;
    }
    n_thread = n_thread ? n_thread : "1";
    snprintf(command, sizeof command, "'%s' tests/peer_llama.py --f32 %s %s", python, shipped,
             unpacked);
    if (access(unpacked, R_OK) != 0 && system(command) != 0) /* NOLINT(cert-env33-c): a bench */
        die("can't write the model in F32");
    struct peer f32 = start(python, unpacked, n_thread), q4 = start(python, shipped, n_thread);
    ours_new(&ours, unpacked, n_thread);
    for (uint32_t n_tok = 512; n_tok <= MOST_TOK; n_tok *= 4) {
        double best[3] = {1e9, 1e9, 1e9};
        for (int round = 0; round < (n_tok == 512 ? 5 : 2); round++) {
            best[0] = fmin(best[0], ours_s(&ours, n_tok));
            best[1] = fmin(best[1], peer_s(&f32, n_tok));
            best[2] = fmin(best[2], peer_s(&q4, n_tok));
        }
        line("prefill, F32", n_tok, n_thread, n_tok / best[0], "tok/s", n_tok / best[1]);
        line("prefill over llama.cpp's, F32", n_tok, n_thread, best[1] / best[0], "1", 1);
        line("llama.cpp with the shipped Q4_1", n_tok, n_thread, n_tok / best[2], "tok/s", 0);
        line("prefill over llama.cpp's with Q4_1", n_tok, n_thread, best[2] / best[0], "1", 0);
    }
    stop(&f32);
    stop(&q4);
    free(ours.logits);
    kvs_stream_free(ours.stream);
    kvs_forward_free(ours.forward);
    kvs_dev_close(ours.dev);
    return 0;
}
