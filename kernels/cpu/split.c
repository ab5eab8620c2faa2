#include "split.h"

#include <assert.h>

/* Columns of a GEMM and elements of an add stay whole vectors; queries of attention whole chunks,
 * as simd.c packs a tile of K and V once a chunk. */
enum { COLS = 64, ELEMS = 1024, QUERIES = 128 };

static void move(struct kvs_view *view, size_t n, enum kvs_elem elem)
{
    if (view->buf)
        view->at_bytes += n * kvs_elem_bytes(elem);
}

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

struct range {
    size_t from, n;
};

/* Part i of n of 0 .. all - 1, in steps; the last ones may be short or empty. */
static struct range share(size_t all, size_t step, unsigned n, unsigned i)
{
    size_t each = ceil_div(ceil_div(all, step), n) * step;
    size_t from = each * i < all ? each * i : all;
    struct range range = {from, all - from < each ? all - from : each};

    return range;
}

static unsigned at_most(size_t n, unsigned most)
{
    return n == 0 ? 1 : n < most ? (unsigned)n : most;
}

static size_t n_query_chunk(const struct kvs_attn *op)
{
    return op->n_q ? ceil_div(op->n_q, QUERIES) : 1;
}

unsigned kvs_split_n(const struct kvs_item *item, unsigned n_thread)
{
    switch (item->kind) {
    case KVS_ITEM_rmsnorm:
        return at_most(item->u.rmsnorm.n_row, n_thread);
    case KVS_ITEM_gemm:
        return at_most(item->u.gemm.n / COLS, n_thread);
    case KVS_ITEM_rope:
        return at_most(item->u.rope.n_row, n_thread);
    case KVS_ITEM_attn: /* causal: later queries take longer, so many parts, taken in turn */
        return n_thread == 1
                   ? 1
                   : at_most(item->u.attn.n_kv_head * n_query_chunk(&item->u.attn), 1u << 20);
    case KVS_ITEM_swiglu:
        return at_most(item->u.swiglu.n_row, n_thread);
    case KVS_ITEM_add:
        return at_most(item->u.add.n / ELEMS, n_thread);
    case KVS_ITEM_rows:
        return at_most(item->u.rows.n_row, n_thread);
    default:
        return 1;
    }
}

/* One KV head with its query heads, one chunk of queries; the last chunks first, they take longest.
 */
static void split_attn(struct kvs_attn *op, unsigned i)
{
    size_t n_chunk = n_query_chunk(op), g = i % op->n_kv_head,
           chunk = n_chunk - 1 - i / op->n_kv_head;
    size_t group = op->n_head / op->n_kv_head, from = chunk * QUERIES;
    size_t head = g * group * op->head_dim;

    move(&op->q, from * op->q_stride + head, op->q_elem);
    move(&op->y, from * op->y_stride + head, op->y_elem);
    move(&op->q_pos, from, KVS_F32); /* int32 is as wide */
    move(&op->k, g * op->head_dim, op->kv_elem);
    move(&op->v, g * op->head_dim, op->kv_elem);
    op->n_q = (uint32_t)(op->n_q - from < QUERIES ? op->n_q - from : QUERIES);
    op->n_head = (uint32_t)group;
    op->n_kv_head = 1;
}

static void split_rows(struct kvs_rows *op, struct range r)
{
    if (op->dst_i.buf)
        move(&op->dst_i, r.from, KVS_F32);
    else
        move(&op->dst, r.from * op->dst_stride, op->dst_elem);
    if (op->src_i.buf)
        move(&op->src_i, r.from, KVS_F32);
    else
        move(&op->src, r.from * op->src_stride, op->src_elem);
    op->n_row = (uint32_t)r.n;
}

struct kvs_item kvs_split(const struct kvs_item *item, unsigned n, unsigned i)
{
    struct kvs_item part = *item;
    struct range r;

    assert(i < n);
    if (n == 1)
        return part;
    switch (item->kind) {
    case KVS_ITEM_rmsnorm:
        r = share(part.u.rmsnorm.n_row, 1, n, i);
        move(&part.u.rmsnorm.y, r.from * part.u.rmsnorm.n, part.u.rmsnorm.y_elem);
        move(&part.u.rmsnorm.x, r.from * part.u.rmsnorm.n, KVS_F32);
        part.u.rmsnorm.n_row = (uint32_t)r.n;
        break;
    case KVS_ITEM_gemm:
        r = share(part.u.gemm.n, COLS, n, i);
        move(&part.u.gemm.y, r.from, part.u.gemm.y_elem);
        move(&part.u.gemm.w, r.from * part.u.gemm.w_stride, part.u.gemm.w_elem);
        part.u.gemm.n = (uint32_t)r.n;
        break;
    case KVS_ITEM_rope:
        r = share(part.u.rope.n_row, 1, n, i);
        move(&part.u.rope.x, r.from * part.u.rope.row_stride, part.u.rope.elem);
        move(&part.u.rope.pos, r.from, KVS_F32);
        part.u.rope.n_row = (uint32_t)r.n;
        break;
    case KVS_ITEM_attn:
        split_attn(&part.u.attn, i);
        break;
    case KVS_ITEM_swiglu:
        r = share(part.u.swiglu.n_row, 1, n, i);
        move(&part.u.swiglu.y, r.from * part.u.swiglu.y_stride, part.u.swiglu.y_elem);
        move(&part.u.swiglu.gate, r.from * part.u.swiglu.x_stride, part.u.swiglu.x_elem);
        move(&part.u.swiglu.up, r.from * part.u.swiglu.x_stride, part.u.swiglu.x_elem);
        part.u.swiglu.n_row = (uint32_t)r.n;
        break;
    case KVS_ITEM_add:
        r = share(part.u.add.n, ELEMS, n, i);
        move(&part.u.add.x, r.from, KVS_F32);
        move(&part.u.add.y, r.from, part.u.add.y_elem);
        part.u.add.n = r.n;
        break;
    case KVS_ITEM_rows:
        split_rows(&part.u.rows, share(part.u.rows.n_row, 1, n, i));
        break;
    default:
        break;
    }
    return part;
}
