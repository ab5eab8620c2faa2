/*
 * queue.h - future events in the order (time, priority, sequence): a 4-ary heap.
 *
 * No tie is left to the heap: events of one time run by priority, and of one priority as scheduled.
 * An event can't be taken back; who schedules it gives it a version and ignores it when outdated.
 */
#ifndef KVS_QUEUE_H
#define KVS_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvs_event {
    int64_t at_ns;
    uint64_t order;   /* priority in the high 8 bits, sequence below */
    uint32_t what;    /* the caller's */
    uint32_t version; /* the caller's */
};

struct kvs_queue {
    struct kvs_event *heap;
    size_t n, room;
    uint64_t seq;
    uint64_t n_run; /* events taken so far */
};

void kvs_queue_init(struct kvs_queue *queue);
void kvs_queue_free(struct kvs_queue *queue);
/* priority 0 runs first; below 256. false: no memory. */
bool kvs_queue_add(struct kvs_queue *queue, int64_t at_ns, unsigned priority, uint32_t what,
                   uint32_t version);
/* The next event, or false if there is none. */
bool kvs_queue_take(struct kvs_queue *queue, struct kvs_event *event);

#endif
