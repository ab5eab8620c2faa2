#include "queue.h"

#include <assert.h>
#include <stdlib.h>

void kvs_queue_init(struct kvs_queue *queue)
{
    *queue = (struct kvs_queue){0};
}

void kvs_queue_free(struct kvs_queue *queue)
{
    free(queue->heap);
    kvs_queue_init(queue);
}

static bool before(const struct kvs_event *a, const struct kvs_event *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order);
}

bool kvs_queue_add(struct kvs_queue *queue, int64_t at_ns, unsigned priority, uint32_t what,
                   uint32_t version)
{
    assert(priority < 256);
    if (queue->n == queue->room) {
        size_t room = queue->room ? 2 * queue->room : 256;
        struct kvs_event *heap = realloc(queue->heap, room * sizeof *heap);
        if (!heap)
            return false;
        queue->heap = heap;
        queue->room = room;
    }
    struct kvs_event event = {at_ns, (uint64_t)priority << 56 | queue->seq++, what, version};
    size_t i = queue->n++;
    while (i > 0) {
        size_t up = (i - 1) / 4;
        if (!before(&event, &queue->heap[up]))
            break;
        queue->heap[i] = queue->heap[up];
        i = up;
    }
    queue->heap[i] = event;
    return true;
}

bool kvs_queue_take(struct kvs_queue *queue, struct kvs_event *event)
{
    if (queue->n == 0)
        return false;
    *event = queue->heap[0];
    struct kvs_event last = queue->heap[--queue->n];
    size_t i = 0, n = queue->n;
    for (;;) {
        size_t first = 4 * i + 1, least = first;
        if (first >= n)
            break;
        size_t end = first + 4 < n ? first + 4 : n;
        for (size_t c = first + 1; c < end; c++)
            if (before(&queue->heap[c], &queue->heap[least]))
                least = c;
        if (!before(&queue->heap[least], &last))
            break;
        queue->heap[i] = queue->heap[least];
        i = least;
    }
    if (n)
        queue->heap[i] = last;
    queue->n_run++;
    return true;
}
