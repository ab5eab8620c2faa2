#include "labels_in.h"

#include <stdlib.h>

static bool dominates(const struct kvs_label *a, const struct kvs_label *b, uint32_t n_route)
{
    const struct kvs_chain_head *x = &a->head, *y = &b->head;

    if (x->x_ns > y->x_ns || x->after_ns > y->after_ns || x->work_ns > y->work_ns ||
        x->distortion > y->distortion)
        return false;
    for (uint32_t k = 0; k < n_route; k++)
        if (x->in_ns[k] > y->in_ns[k])
            return false;
    return true;
}

/* Total orders, so that results depend on nothing else. */
static int by_state(const struct kvs_label *x, const struct kvs_label *y)
{
    const int64_t *a = x->head.in_ns, *b = y->head.in_ns;

    for (uint32_t k = 0; k < KVS_MAX_ROUTE; k++)
        if (a[k] != b[k])
            return a[k] < b[k] ? -1 : 1;
    if (x->head.work_ns != y->head.work_ns)
        return x->head.work_ns < y->head.work_ns ? -1 : 1;
    if (x->head.x_ns != y->head.x_ns)
        return x->head.x_ns < y->head.x_ns ? -1 : 1;
    if (x->head.after_ns != y->head.after_ns)
        return x->head.after_ns < y->head.after_ns ? -1 : 1;
    if (x->head.distortion != y->head.distortion)
        return x->head.distortion < y->head.distortion ? -1 : 1;
    return (x->trace > y->trace) - (x->trace < y->trace);
}

static int by_frac_then_state(const void *a, const void *b)
{
    const struct kvs_label *x = a, *y = b;

    if (x->frac_i != y->frac_i)
        return x->frac_i < y->frac_i ? -1 : 1;
    if (x->low_i != y->low_i)
        return x->low_i < y->low_i ? -1 : 1;
    return by_state(x, y);
}

static bool is_before(const struct kvs_label *x, const struct kvs_label *y)
{
    if (x->score != y->score)
        return x->score < y->score;
    if (x->frac_i != y->frac_i)
        return x->frac_i < y->frac_i;
    return by_state(x, y) < 0;
}

/* Quickselect, median of three. */
void kvs_labels_select(struct kvs_label *list, size_t n_list, size_t n)
{
    size_t from = 0, to = n_list;

    while (to - from > 1) {
        struct kvs_label *mid = &list[from + (to - from) / 2], pivot, swap;
        size_t at = from;

        if (is_before(mid, &list[from]) != is_before(mid, &list[to - 1]))
            pivot = *mid;
        else if (is_before(&list[from], mid) != is_before(&list[from], &list[to - 1]))
            pivot = list[from];
        else
            pivot = list[to - 1];
        for (size_t i = from; i < to; i++) {
            if (is_before(&list[i], &pivot)) {
                swap = list[at];
                list[at++] = list[i];
                list[i] = swap;
            }
        }
        if (at == n)
            return;
        if (at > n) {
            to = at;
            continue;
        }
        /* the pivot itself comes next; equal ones count as after it */
        for (size_t i = at; i < to; i++) {
            if (!is_before(&pivot, &list[i])) {
                swap = list[at];
                list[at++] = list[i];
                list[i] = swap;
            }
        }
        if (at >= n)
            return;
        from = at;
    }
}

bool kvs_labels_stopped(const struct kvs_label_search *search, uint32_t l, size_t n_partial)
{
    return search->watch &&
           search->watch->stop(search->watch->ctx, l, search->problem->n_layer, n_partial);
}

bool kvs_labels_drop(struct kvs_labels *s, const struct kvs_label_search *search, uint32_t l)
{
    uint32_t n_route = search->problem->n_route;
    size_t n = 0, from = 0;

    qsort(s->then, s->n_then, sizeof *s->then, by_frac_then_state);
    for (size_t i = 0; i < s->n_then; i++) {
        bool keep = true;

        if (i % KVS_LABELS_ASKED == KVS_LABELS_ASKED - 1 &&
            kvs_labels_stopped(search, l, s->n_then))
            return false;
        if (n > 0 && (s->then[n - 1].frac_i != s->then[i].frac_i ||
                      s->then[n - 1].low_i != s->then[i].low_i))
            from = n;
        for (size_t k = n; keep && k > from; k--)
            keep = !dominates(&s->then[k - 1], &s->then[i], n_route);
        if (keep)
            s->then[n++] = s->then[i];
    }
    s->n_then = n;
    return true;
}
