#include "feed.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_NS 20000000 /* how long a reader may go without looking whether it is to stop */

struct feed_layer {
    uint32_t first_read, n_read;
    uint32_t left; /* reads that have not come back */
    int64_t read_to_ns, decode_from_ns, decode_to_ns;
};

struct kvs_feed {
    struct kvs_feed_in in;
    struct kvs_reader *reader; /* the read thread's */
    struct kvs_read *read;
    uint32_t n_layer; /* that load */
    struct feed_layer layer[KVS_MAX_LAYER];
    uint32_t n_chan;
    int64_t begin_ns;
    uint64_t load_bytes;
    uint32_t n_window_wait;
    bool lost_memory; /* a read never ended: the sections may be written for ever */
    char how[96];
    pthread_t read_thread, decode_thread;
    bool read_made, decode_made;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool go, stop;
    uint32_t n_read, n_decoded, n_taken, n_back; /* layers so far */
    struct kvs_err failed;
};

static int64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* --- sizes ------------------------------------------------------------------------------------ */

static const struct kvs_stored *stored_of(const struct kvs_exec_plan *plan, uint32_t block,
                                          uint32_t layer)
{
    return plan->block[block].form[plan->form[layer]];
}

/* A layer's first section in a block that holds it. */
static uint32_t section_of(const struct kvs_stored *stored, uint32_t layer)
{
    return 2 * (layer - kvs_kvf_shape(kvs_stored_kvf(stored))->first_layer);
}

static bool holds(const struct kvs_stored *stored, uint32_t layer)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(kvs_stored_kvf(stored));

    return layer >= s->first_layer && layer - s->first_layer < s->n_layer;
}

static void range_of(const struct kvs_exec_plan *plan, uint32_t block, uint32_t layer,
                     uint64_t *at_bytes, size_t *n_byte)
{
    const struct kvs_stored *stored = stored_of(plan, block, layer);

    kvs_stored_range(stored, section_of(stored, layer), 2, at_bytes, n_byte);
}

uint32_t kvs_feed_n_tok(const struct kvs_exec_plan *plan, uint32_t layer)
{
    uint32_t n_tok = 0;

    for (uint32_t b = plan->cut[layer]; b < plan->n_block; b++)
        n_tok += plan->block[b].n_tok;
    return n_tok;
}

bool kvs_feed_hidden(const struct kvs_exec_plan *plan, uint32_t layer)
{
    uint32_t b = plan->cut[layer];
    const struct kvs_stored *stored = b < plan->n_block ? stored_of(plan, b, layer) : NULL;

    return stored && kvs_kvf_shape(kvs_stored_kvf(stored))->hidden;
}

size_t kvs_feed_section_bytes(const struct kvs_exec_plan *plan, uint32_t layer)
{
    size_t sum = 0, n_byte;
    uint64_t at;

    for (uint32_t b = plan->cut[layer]; b < plan->n_block; b++)
        if (stored_of(plan, b, layer) && holds(stored_of(plan, b, layer), layer)) {
            range_of(plan, b, layer, &at, &n_byte);
            sum += n_byte;
        }
    return sum;
}

size_t kvs_feed_row_bytes(const struct kvs_exec_plan *plan, uint32_t layer,
                          const struct kvs_weights_shape *shape)
{
    size_t n_chan = kvs_feed_hidden(plan, layer) ? shape->hidden
                                                 : 2 * (size_t)shape->n_kv_head * shape->head_dim;

    return kvs_feed_n_tok(plan, layer) * n_chan * sizeof(uint16_t);
}

/* --- failing ---------------------------------------------------------------------------------- */

static void give_up(struct kvs_feed *feed, const struct kvs_err *why)
{
    pthread_mutex_lock(&feed->lock);
    if (!feed->failed.code)
        feed->failed = *why;
    feed->stop = true;
    pthread_cond_broadcast(&feed->changed);
    pthread_mutex_unlock(&feed->lock);
}

/* Waits until count has passed at, or until there is a stop; false then. */
static bool wait_past(struct kvs_feed *feed, const uint32_t *count, uint32_t at)
{
    bool on;

    pthread_mutex_lock(&feed->lock);
    while (!feed->stop && *count <= at)
        pthread_cond_wait(&feed->changed, &feed->lock);
    on = !feed->stop;
    pthread_mutex_unlock(&feed->lock);
    return on;
}

static void count_up(struct kvs_feed *feed, uint32_t *count)
{
    pthread_mutex_lock(&feed->lock);
    (*count)++;
    pthread_cond_broadcast(&feed->changed);
    pthread_mutex_unlock(&feed->lock);
}

/* false: it is time to stop. */
static bool wait_go(struct kvs_feed *feed)
{
    bool on;

    pthread_mutex_lock(&feed->lock);
    while (!feed->go && !feed->stop)
        pthread_cond_wait(&feed->changed, &feed->lock);
    on = !feed->stop;
    pthread_mutex_unlock(&feed->lock);
    return on;
}

/* --- reading ---------------------------------------------------------------------------------- */

static void submit_layer(struct kvs_feed *feed, uint32_t j)
{
    struct feed_layer *y = &feed->layer[j];
    uint8_t *to = feed->in.section + (size_t)(j % feed->in.n_section) * feed->in.section_bytes;

    for (uint32_t r = 0; r < y->n_read; r++) {
        struct kvs_read *read = &feed->read[y->first_read + r];

        read->to = to;
        to += read->n_byte;
        kvs_reader_submit(feed->reader, read);
    }
}

/* Layers that may be read into the ring by now; *full: another one had to wait. */
static uint32_t room_for(struct kvs_feed *feed, bool *on)
{
    uint32_t n;

    pthread_mutex_lock(&feed->lock);
    n = feed->n_decoded + feed->in.n_section;
    *on = !feed->stop;
    pthread_mutex_unlock(&feed->lock);
    return n < feed->n_layer ? n : feed->n_layer;
}

static bool come_back(struct kvs_feed *feed, struct kvs_read *read, struct kvs_err *err)
{
    uint32_t j = *(const uint32_t *)read->user;
    struct feed_layer *y = &feed->layer[j];

    if (read->code) {
        (void)kvs_read_error(read, err);
        return false;
    }
    feed->load_bytes += read->n_byte;
    if (read->end_ns > y->read_to_ns)
        y->read_to_ns = read->end_ns;
    y->left--;
    return true;
}

static void read_all(struct kvs_feed *feed, struct kvs_err *err)
{
    uint32_t n_sent = 0, n_here = 0;
    bool on = true;

    while (n_here < feed->n_layer && !err->code) {
        uint32_t room = room_for(feed, &on);

        if (!on)
            return;
        while (n_sent < room)
            submit_layer(feed, n_sent++);
        if (kvs_reader_n_pending(feed->reader) == 0) { /* the ring is full of what is here */
            feed->n_window_wait++;
            if (!wait_past(feed, &feed->n_decoded, n_sent - feed->in.n_section))
                return;
            continue;
        }
        struct kvs_read *read = kvs_reader_wait(feed->reader, now_ns() + POLL_NS);
        if (read && !come_back(feed, read, err))
            return;
        while (n_here < n_sent && feed->layer[n_here].left == 0) {
            n_here++;
            count_up(feed, &feed->n_read);
        }
    }
}

/* false: it is time to stop. */
static bool sleep_until(struct kvs_feed *feed, int64_t end_ns)
{
    bool on = true;

    for (int64_t at_ns = now_ns(); on && at_ns < end_ns; at_ns = now_ns()) {
        int64_t to_ns = end_ns - at_ns < POLL_NS ? end_ns : at_ns + POLL_NS;
        struct timespec to = {to_ns / 1000000000, to_ns % 1000000000};

        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &to, NULL); /* a signal: once more */
        pthread_mutex_lock(&feed->lock);
        on = !feed->stop;
        pthread_mutex_unlock(&feed->lock);
    }
    return on;
}

static void *read_thread(void *arg)
{
    struct kvs_feed *feed = arg;
    struct kvs_err err = {0};

    if (kvs_reader_new(feed->in.store, &feed->in.reader, &feed->reader, &err)) {
        give_up(feed, &err);
        return NULL;
    }
    snprintf(feed->how, sizeof feed->how, "%s", kvs_reader_how(feed->reader));
    if (wait_go(feed) && sleep_until(feed, feed->begin_ns + feed->in.latency_ns))
        read_all(feed, &err);
    if (err.code)
        give_up(feed, &err);
    feed->lost_memory = !kvs_reader_free(feed->reader);
    return NULL;
}

/* --- decoding --------------------------------------------------------------------------------- */

static enum kvs_code decode_layer(struct kvs_feed *feed, uint32_t j, struct kvs_err *err)
{
    const struct kvs_exec_plan *plan = feed->in.plan;
    assert(feed->in.n_row);
    uint32_t layer = feed->in.first_layer + j;
    uint16_t *row =
        (uint16_t *)(void *)(feed->in.row + (size_t)(j % feed->in.n_row) * feed->in.row_bytes);
    size_t n_tok = kvs_feed_n_tok(plan, layer), at = 0, stride = feed->n_chan;
    const struct feed_layer *y = &feed->layer[j];
    size_t half = n_tok * stride; /* where V begins, or the second half of a state */

    if (kvs_feed_hidden(plan, layer)) {
        stride = feed->in.shape->hidden;
        half = stride / 2;
    }

    for (uint32_t r = 0; r < y->n_read; r++) {
        const struct kvs_read *read = &feed->read[y->first_read + r];
        const struct kvs_kvf *kvf = kvs_stored_kvf(read->block);
        uint32_t n = plan->block[plan->cut[layer] + r].n_tok;

        for (uint32_t kv = 0; kv < 2; kv++) {
            uint32_t i = section_of(read->block, layer) + kv;
            struct kvs_section section = kvs_kvf_section(kvf, i);
            enum kvs_code code =
                kvs_kvf_decode(kvf, i, read->to + (section.at_bytes - read->at_bytes), feed->in.isa,
                               row + kv * half + at * stride, stride, err);
            if (code)
                return code;
        }
        at += n;
    }
    return KVS_OK;
}

static void *decode_thread(void *arg)
{
    struct kvs_feed *feed = arg;

    for (uint32_t j = 0; j < feed->n_layer; j++) {
        struct kvs_err err = {0};

        if (!wait_past(feed, &feed->n_read, j) ||
            (j >= feed->in.n_row && !wait_past(feed, &feed->n_back, j - feed->in.n_row)))
            return NULL;
        feed->layer[j].decode_from_ns = now_ns();
        if (decode_layer(feed, j, &err)) {
            give_up(feed, &err);
            return NULL;
        }
        feed->layer[j].decode_to_ns = now_ns();
        count_up(feed, &feed->n_decoded);
    }
    return NULL;
}

/* --- from outside ----------------------------------------------------------------------------- */

/* That a block holds the layer's hidden states, and is the model's. */
static enum kvs_code check_states(const struct kvs_stored *stored, uint32_t layer, uint32_t n_tok,
                                  const struct kvs_weights_shape *shape, struct kvs_err *err)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(kvs_stored_kvf(stored));

    if (!s->hidden || !holds(stored, layer) ||
        2 * (uint64_t)s->n_kv_head * s->head_dim != shape->hidden || s->n_tok != n_tok ||
        s->half != KVS_HALF_BF16)
        return kvs_fail(
            err, KVS_ERR_CHECK,
            "%s: holds hidden states of %u tokens, 2 x %u x %u, from layer %u to %u; want layer %u "
            "of %u tokens, width %u, bf16",
            kvs_stored_name(stored), s->n_tok, s->n_kv_head, s->head_dim, s->first_layer,
            s->first_layer + s->n_layer - 1, layer, n_tok, shape->hidden);
    return KVS_OK;
}

/* That it holds all layers' K and V, likewise. */
static enum kvs_code check_kv(const struct kvs_stored *stored, uint32_t n_tok,
                              const struct kvs_weights_shape *shape, struct kvs_err *err)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(kvs_stored_kvf(stored));

    if (s->n_layer != shape->n_layer || s->n_kv_head != shape->n_kv_head ||
        s->head_dim != shape->head_dim || s->n_tok != n_tok || s->half != KVS_HALF_BF16 ||
        s->before_rope || s->hidden)
        return kvs_fail(err, KVS_ERR_CHECK,
                        "%s: holds %s of %u tokens of %u layers x %u x %u, want K and V of %u of "
                        "%u x %u x %u, bf16, keys after RoPE",
                        kvs_stored_name(stored), s->hidden ? "hidden states" : "K and V", s->n_tok,
                        s->n_layer, s->n_kv_head, s->head_dim, n_tok, shape->n_layer,
                        shape->n_kv_head, shape->head_dim);
    return KVS_OK;
}

/* Every block that is loaded; those of a layer are all K and V, or all hidden states. */
static enum kvs_code check_blocks(const struct kvs_feed_in *in, struct kvs_err *err)
{
    const struct kvs_exec_plan *plan = in->plan;

    for (uint32_t l = in->first_layer; l < in->shape->n_layer; l++)
        for (uint32_t b = plan->cut[l]; b < plan->n_block; b++) {
            const struct kvs_stored *stored = stored_of(plan, b, l);
            uint32_t n_tok = plan->block[b].n_tok;
            enum kvs_code code;

            if (!stored)
                return kvs_fail(err, KVS_ERR_CHECK, "block %u is not held in form %u", b,
                                plan->form[l]);
            code = kvs_feed_hidden(plan, l) ? check_states(stored, l, n_tok, in->shape, err)
                                            : check_kv(stored, n_tok, in->shape, err);
            if (code)
                return code;
        }
    return KVS_OK;
}

static enum kvs_code lay_out_reads(struct kvs_feed *feed, struct kvs_err *err)
{
    const struct kvs_exec_plan *plan = feed->in.plan;
    uint32_t n = 0, *of_layer;

    for (uint32_t j = 0; j < feed->n_layer; j++)
        n += plan->n_block - plan->cut[feed->in.first_layer + j];
    feed->read = calloc(n + 1u, sizeof *feed->read + sizeof *of_layer);
    if (!feed->read)
        return kvs_nomem(err);
    of_layer = (uint32_t *)(void *)(feed->read + n + 1);
    n = 0;
    for (uint32_t j = 0; j < feed->n_layer; j++) {
        uint32_t layer = feed->in.first_layer + j;
        struct feed_layer *y = &feed->layer[j];

        y->first_read = n;
        y->n_read = y->left = plan->n_block - plan->cut[layer];
        of_layer[j] = j;
        for (uint32_t b = plan->cut[layer]; b < plan->n_block; b++) {
            struct kvs_read *read = &feed->read[n++];

            read->block = stored_of(plan, b, layer);
            read->user = &of_layer[j];
            range_of(plan, b, layer, &read->at_bytes, &read->n_byte);
        }
    }
    return KVS_OK;
}

enum kvs_code kvs_feed_new(const struct kvs_feed_in *in, struct kvs_feed **out, struct kvs_err *err)
{
    struct kvs_feed *feed;
    enum kvs_code code;

    *out = NULL;
    if ((code = check_blocks(in, err)))
        return code;
    feed = calloc(1, sizeof *feed);
    if (!feed)
        return kvs_nomem(err);
    feed->in = *in;
    feed->n_layer = in->shape->n_layer - in->first_layer;
    feed->n_chan = in->shape->n_kv_head * in->shape->head_dim;
    pthread_mutex_init(&feed->lock, NULL);
    pthread_cond_init(&feed->changed, NULL);
    code = lay_out_reads(feed, err);
    if (!code) {
        feed->read_made = pthread_create(&feed->read_thread, NULL, read_thread, feed) == 0;
        feed->decode_made = pthread_create(&feed->decode_thread, NULL, decode_thread, feed) == 0;
        if (!feed->read_made || !feed->decode_made)
            code = kvs_fail(err, KVS_ERR_IO, "no thread for loads");
    }
    if (code) {
        (void)kvs_feed_end(feed, NULL); /* nothing was read */
        return code;
    }
    *out = feed;
    return KVS_OK;
}

void kvs_feed_go(struct kvs_feed *feed, int64_t begin_ns)
{
    pthread_mutex_lock(&feed->lock);
    feed->begin_ns = begin_ns;
    feed->go = true;
    pthread_cond_broadcast(&feed->changed);
    pthread_mutex_unlock(&feed->lock);
}

enum kvs_code kvs_feed_next(struct kvs_feed *feed, const uint8_t **row, struct kvs_err *err)
{
    uint32_t j = feed->n_taken;

    *row = NULL;
    if (!wait_past(feed, &feed->n_decoded, j))
        return kvs_fail(err, feed->failed.code, "%s", feed->failed.msg);
    feed->n_taken++;
    *row = feed->in.row + (size_t)(j % feed->in.n_row) * feed->in.row_bytes;
    return KVS_OK;
}

void kvs_feed_back(struct kvs_feed *feed)
{
    count_up(feed, &feed->n_back);
}

static struct kvs_exec_time since(int64_t begin_ns, int64_t from_ns, int64_t to_ns)
{
    if (to_ns == 0)
        return (struct kvs_exec_time){0, 0};
    return (struct kvs_exec_time){from_ns - begin_ns, to_ns - begin_ns};
}

/* A layer's read begins when the pipe has brought the one before, and ends with it at the earliest:
 * a disk may answer in another order, and layers are decoded in theirs. */
static void tell_times(const struct kvs_feed *feed, struct kvs_exec_result *result)
{
    int64_t before_ns = feed->begin_ns + feed->in.latency_ns;

    for (uint32_t j = 0; j < feed->n_layer; j++) {
        const struct feed_layer *y = &feed->layer[j];
        uint32_t layer = feed->in.first_layer + j;
        int64_t from_ns = feed->read[y->first_read].begin_ns, to_ns = y->read_to_ns;

        from_ns = from_ns > before_ns ? from_ns : before_ns;
        to_ns = to_ns && to_ns < from_ns ? from_ns : to_ns;
        if (y->left == 0)
            result->time[KVS_EXEC_READ][layer] = since(feed->begin_ns, from_ns, to_ns);
        result->time[KVS_EXEC_DECODE][layer] =
            since(feed->begin_ns, y->decode_from_ns, y->decode_to_ns);
        before_ns = to_ns;
    }
    result->load_bytes = feed->load_bytes;
    result->n_window_wait = feed->n_window_wait;
    snprintf(result->how, sizeof result->how, "%s", feed->how);
}

bool kvs_feed_end(struct kvs_feed *feed, struct kvs_exec_result *result)
{
    if (!feed)
        return true;
    pthread_mutex_lock(&feed->lock);
    feed->stop = true;
    pthread_cond_broadcast(&feed->changed);
    pthread_mutex_unlock(&feed->lock);
    if (feed->read_made)
        pthread_join(feed->read_thread, NULL);
    if (feed->decode_made)
        pthread_join(feed->decode_thread, NULL);
    if (result)
        tell_times(feed, result);
    pthread_cond_destroy(&feed->changed);
    pthread_mutex_destroy(&feed->lock);
    bool ended = !feed->lost_memory;
    free(feed->read);
    free(feed);
    return ended;
}
