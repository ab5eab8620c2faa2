/*
 * Layers of stored blocks read by the store's reader, beside the same bytes read straight through
 * io_uring in whole files: what the layout by layers and the reader cost. A store in
 * $KVS_BENCH_DIR, else beside /tmp; medians of interleaved rounds. Then the rate that the reader
 * plays.
 */
#include "kernels/codec/made.h"
#include "kernels/store/place.h"

#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_LAYER = 16, N_TOK = 64, N_CHAN = 1024, N_BLOCK = 16, DEPTH = 16, ROUNDS = 9 };

struct bench {
    struct kvs_store *store;
    struct kvs_stored *block[N_BLOCK];
    uint8_t *to;
    size_t all_bytes;
    struct kvs_read read[N_BLOCK * N_LAYER];
};

static void line(const char *what, double value, const char *unit, const char *goal)
{
    printf("{\"bench\": \"kvstore\", \"what\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", "
           "\"goal\": %s}\n",
           what, value, unit, goal);
}

static void stop(const struct kvs_err *err)
{
    (void)fprintf(stderr, "bench_kvstore: %s\n", err->msg);
    exit(1);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x)
{
    qsort(x, ROUNDS, sizeof *x, by_size);
    return x[ROUNDS / 2];
}

static void fill(struct bench *b)
{
    struct kvs_err err = {0};
    const uint16_t *x[N_LAYER * 2];
    uint8_t level[N_LAYER * 2] = {0}; /* raw16 */
    uint16_t *made = kvs_kvf_made(1, N_TOK, N_CHAN, .3, KVS_HALF_BF16);

    for (uint32_t i = 0; i < N_LAYER * 2; i++)
        x[i] = made;
    for (uint32_t i = 0; i < N_BLOCK && made; i++) {
        struct kvs_block_key key = {{i + 1, i + 1}};
        struct kvs_kvf_in in = {.shape = {.n_layer = N_LAYER,
                                          .n_kv_head = 8,
                                          .head_dim = N_CHAN / 8,
                                          .n_tok = N_TOK,
                                          .block_tok = N_TOK,
                                          .half = KVS_HALF_BF16,
                                          .prefix_hash = {i + 1, i + 1}},
                                .x = x,
                                .level = level};
        uint8_t *file;
        size_t n;
        if (kvs_kvf_encode(&in, kvs_kvf_isa(NULL), &file, &n, &err) ||
            kvs_store_put(b->store, key, "raw16", file, n, NULL, &err) ||
            kvs_store_find(b->store, key, "raw16", &b->block[i], &err))
            stop(&err);
        free(file);
        b->all_bytes += n;
    }
    free(made);
}

/* All layers, first to last, of every block. Seconds. */
static double by_layers(struct bench *b, double bytes_per_s)
{
    const struct kvs_reader_opt opt = {
        .depth = DEPTH, .bytes_per_s = bytes_per_s, .pool = b->to, .pool_bytes = b->all_bytes};
    struct kvs_reader *reader;
    struct kvs_err err = {0};
    size_t at = 0;

    if (kvs_reader_new(b->store, &opt, &reader, &err))
        stop(&err);
    int64_t begin = kvs_store_now_ns();
    for (uint32_t i = 0; i < N_LAYER * N_BLOCK; i++) {
        struct kvs_read *read = &b->read[i];
        read->block = b->block[i % N_BLOCK];
        kvs_stored_range(read->block, 2 * (i / N_BLOCK), 2, &read->at_bytes, &read->n_byte);
        read->to = b->to + at;
        at += read->n_byte;
        kvs_reader_submit(reader, read);
    }
    for (uint32_t i = 0; i < N_LAYER * N_BLOCK; i++)
        if (kvs_read_error(kvs_reader_wait(reader, INT64_MAX), &err))
            stop(&err);
    int64_t end = kvs_store_now_ns();
    kvs_reader_free(reader);
    return (double)(end - begin) * 1e-9 * (double)b->all_bytes / (double)at;
}

/* The files from end to end in pieces of a layer's size, as fio would. Seconds. */
static double straight(struct bench *b)
{
    struct io_uring ring;
    struct iovec all = {b->to, b->all_bytes};
    uint64_t piece;
    size_t n_piece;
    unsigned flying = 0, done = 0, next = 0;

    kvs_stored_range(b->block[0], 0, 2, &piece, &n_piece);
    piece = n_piece;
    unsigned per_file = (unsigned)(b->block[0]->n_byte / piece), n = per_file * N_BLOCK;
    if (io_uring_queue_init(DEPTH, &ring, 0) || io_uring_register_buffers(&ring, &all, 1)) {
        (void)fprintf(stderr, "bench_kvstore: no io_uring\n");
        exit(3);
    }
    int64_t begin = kvs_store_now_ns();
    while (done < n) {
        struct io_uring_cqe *cqe;
        for (; flying < DEPTH && next < n; next++, flying++) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
            io_uring_prep_read_fixed(sqe, b->block[next / per_file]->fd, b->to + next * piece,
                                     (unsigned)piece, next % per_file * piece, 0);
        }
        if (io_uring_submit_and_wait(&ring, 1) < 0)
            exit(1);
        while (io_uring_peek_cqe(&ring, &cqe) == 0) {
            if (cqe->res != (int)piece)
                exit(1);
            io_uring_cqe_seen(&ring, cqe);
            flying--;
            done++;
        }
    }
    int64_t end = kvs_store_now_ns();
    io_uring_queue_exit(&ring);
    return (double)(end - begin) * 1e-9 * (double)b->all_bytes / (double)(n * piece);
}

int main(void)
{
    struct bench b = {0};
    struct kvs_err err = {0};
    const char *in = getenv("KVS_BENCH_DIR");
    char dir[256], command[300];
    double layers[ROUNDS], files[ROUNDS], played[ROUNDS];

    (void)snprintf(dir, sizeof dir, "%s/kvsim-bench-XXXXXX", in ? in : "/tmp");
    if (!mkdtemp(dir) || kvs_store_open(dir, NULL, &b.store, &err))
        stop(&err);
    fill(&b);
    b.to = kvs_store_pages(b.all_bytes);
    if (!b.to)
        exit(1);
    memset(b.to, 1, b.all_bytes);
    for (int round = -1; round < ROUNDS; round++) { /* the first warms up */
        int i = round < 0 ? 0 : round;
        layers[i] = by_layers(&b, 0);
        files[i] = straight(&b);
        played[i] = by_layers(&b, 100e6 * 4) * 1e3;
    }
    double n = (double)b.all_bytes, got = median(layers), raw = median(files);
    line("layers of raw16 blocks, 264 KiB each, depth 16", n / got * 1e-9, "GB/s", "null");
    line("the same files, straight through io_uring", n / raw * 1e-9, "GB/s", "null");
    line("share of the straight rate", raw / got, "1", "0.95");
    line("played rate over the one asked for, 0.4 GB/s", n / median(played) * 1e3 / 4e8, "1", "1");
    for (int i = 0; i < N_BLOCK; i++)
        kvs_stored_close(b.block[i]);
    kvs_store_close(b.store);
    free(b.to);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command); /* NOLINT: a path of our own making */
}
