#include "simt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

enum { MAX_THREAD = 1024, MAX_WARP = MAX_THREAD / 32 };
static const size_t stack_bytes = 256 << 10; /* touched as far as used; sanitizers use more */

enum state { FRESH, READY, AT_WARP, AT_BARRIER, DONE };

/* --- fibers ---------------------------------------------------------------------------------- */

#if defined(__x86_64__)
/* Saves what the System V ABI keeps across calls on the stack, swaps stacks, restores. */
extern "C" void simt_switch(void **save, void *to);
asm(".text\n"
    ".globl simt_switch\n"
    ".type simt_switch, @function\n"
    "simt_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size simt_switch, . - simt_switch\n"
    ".section .note.GNU-stack,\"\",@progbits\n"
    ".text\n");

struct fiber {
    void *sp;
};

static void fiber_begin(struct fiber *fiber, char *stack, void (*entry)())
{
    void **top = (void **)(stack + stack_bytes) - 1; /* entry sees rsp as after a call */
    *--top = (void *)entry;
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    fiber->sp = top;
}

static void fiber_switch(struct fiber *from, struct fiber *to)
{
    simt_switch(&from->sp, to->sp);
}
#else
struct fiber {
    ucontext_t at;
};

static void fiber_begin(struct fiber *fiber, char *stack, void (*entry)())
{
    getcontext(&fiber->at);
    fiber->at.uc_stack.ss_sp = stack;
    fiber->at.uc_stack.ss_size = stack_bytes;
    fiber->at.uc_link = NULL;
    makecontext(&fiber->at, entry, 0);
}

static void fiber_switch(struct fiber *from, struct fiber *to)
{
    swapcontext(&from->at, &to->at);
}
#endif

/* --- a device -------------------------------------------------------------------------------- */

struct copy { /* a cp.async under way */
    unsigned char *shared;
    const unsigned char *global;
    unsigned n_byte, group;
};

struct thread {
    struct fiber fiber;
    enum state state;
    unsigned line; /* of the barrier it waits at */
    struct copy *copy;
    unsigned n_copy, room_copy, group; /* group: commits so far */
};

struct warp {
    simt_op *op;
    unsigned imm, arrived; /* arrived: one bit a lane */
    struct simt_slot lane[32];
};

struct buffer {
    const unsigned char *base;
    size_t n_byte;
};

struct simt {
    struct buffer *buffer; /* sorted by base */
    unsigned n_buffer, room_buffer;
    bool checks; /* a buffer was named */
    enum simt_schedule schedule;
    uint64_t random;
    int mutant;
    char *stacks;
    struct fiber scheduler;
    struct thread thread[MAX_THREAD];
    struct warp warp[MAX_WARP];
    unsigned n_thread, n_done, n_at_barrier, line;
    void (*body)(void *arg);
    void *arg;
    bool failed, nomem, launched;
    size_t shared_bytes; /* of the latest launch */
    char why[400];
};

__thread struct simt_self simt_self;
static __thread struct simt *now; /* the device whose kernel this host thread runs */

struct simt *simt_new(enum simt_schedule schedule, uint64_t seed, int mutant)
{
    struct simt *simt = (struct simt *)calloc(1, sizeof *simt);
    if (!simt)
        return NULL;
    simt->schedule = schedule;
    simt->random = seed * 2 + 1;
    simt->mutant = mutant;
    void *stacks = mmap(NULL, stack_bytes * MAX_THREAD, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) {
        free(simt);
        return NULL;
    }
    simt->stacks = (char *)stacks;
    return simt;
}

void simt_free(struct simt *simt)
{
    if (!simt)
        return;
    for (unsigned i = 0; i < MAX_THREAD; i++)
        free(simt->thread[i].copy);
    munmap(simt->stacks, stack_bytes * MAX_THREAD);
    free(simt->buffer);
    free(simt);
}

/* --- global memory ---------------------------------------------------------------------------- */

/* Buffers that begin at or before an address: they are the first ones. */
static unsigned n_before(const struct simt *simt, const void *at)
{
    unsigned low = 0, high = simt->n_buffer;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        if (simt->buffer[mid].base <= (const unsigned char *)at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool simt_buffer_new(struct simt *simt, const void *base, size_t n_byte)
{
    unsigned i = n_before(simt, base);

    if (simt->n_buffer == simt->room_buffer) {
        unsigned room = 2 * simt->room_buffer + 16;
        struct buffer *buffer = (struct buffer *)realloc(simt->buffer, room * sizeof *buffer);
        if (!buffer)
            return false;
        simt->buffer = buffer;
        simt->room_buffer = room;
    }
    memmove(simt->buffer + i + 1, simt->buffer + i, (simt->n_buffer - i) * sizeof *simt->buffer);
    simt->buffer[i] = buffer{(const unsigned char *)base, n_byte};
    simt->n_buffer++;
    simt->checks = true;
    return true;
}

void simt_buffer_gone(struct simt *simt, const void *base)
{
    unsigned i = n_before(simt, base);

    if (i == 0 || simt->buffer[i - 1].base != base)
        return; /* there was no memory to name it */
    memmove(simt->buffer + i - 1, simt->buffer + i, (simt->n_buffer - i) * sizeof *simt->buffer);
    simt->n_buffer--;
}

bool simt_last_launch(struct simt *simt, unsigned *block, size_t *shared_bytes)
{
    bool launched = simt->launched;

    *block = simt->n_thread;
    *shared_bytes = simt->shared_bytes;
    simt->launched = false;
    return launched;
}

/* --- failures: the launch ends, its fibers are never resumed -----------------------------------
 */

static void wait_for_scheduler()
{
    fiber_switch(&now->thread[simt_self.tid].fiber, &now->scheduler);
}

/* Doesn't return, but is not declared so: ASan would then try to clear a stack it doesn't know. */
static void give_up(const char *why)
{
    snprintf(now->why, sizeof now->why, "%s (block %u, %u; thread %u)", why, simt_self.bid_x,
             simt_self.bid_y, simt_self.tid);
    now->failed = true;
    while (now->failed)
        wait_for_scheduler();
}

/* Nobody is ready and not all are done: who waits where. */
static void describe_stall(struct simt *simt)
{
    unsigned at_warp = 0, first_warp = 0, at_barrier = 0, done = 0;
    for (unsigned i = 0; i < simt->n_thread; i++) {
        const struct thread *thread = &simt->thread[i];
        if (thread->state == AT_WARP && at_warp++ == 0)
            first_warp = i;
        at_barrier += thread->state == AT_BARRIER;
        done += thread->state == DONE;
    }
    int n = snprintf(simt->why, sizeof simt->why,
                     "threads wait for ever (block %u, %u): %u at a barrier", simt_self.bid_x,
                     simt_self.bid_y, at_barrier);
    if (at_barrier)
        n += snprintf(simt->why + n, sizeof simt->why - (size_t)n, " of line %u", simt->line);
    n +=
        snprintf(simt->why + n, sizeof simt->why - (size_t)n, ", %u at a warp collective", at_warp);
    if (at_warp)
        n += snprintf(simt->why + n, sizeof simt->why - (size_t)n,
                      " (thread %u's warp: lanes %08x came)", first_warp,
                      simt->warp[first_warp / 32].arrived);
    snprintf(simt->why + n, sizeof simt->why - (size_t)n, ", %u ended", done);
    simt->failed = true;
}

/* --- what a thread calls ---------------------------------------------------------------------- */

void simt_collective(simt_op *op, unsigned imm, struct simt_slot *slot)
{
    struct warp *warp = &now->warp[simt_self.tid / 32];
    unsigned lane = simt_self.tid % 32;

    if (warp->arrived == 0) {
        warp->op = op;
        warp->imm = imm;
    } else if (warp->op != op || warp->imm != imm) {
        give_up("lanes of a warp meet different collectives");
    }
    warp->lane[lane] = *slot;
    warp->arrived |= 1u << lane;
    if (warp->arrived == ~0u) {
        op(warp->lane, imm);
        warp->arrived = 0;
        for (unsigned i = simt_self.tid - lane; i < simt_self.tid - lane + 32; i++)
            now->thread[i].state = READY;
    } else {
        now->thread[simt_self.tid].state = AT_WARP;
        wait_for_scheduler();
    }
    *slot = warp->lane[lane];
}

void simt_global(const void *at, size_t n_byte)
{
    if (!now->checks)
        return;
    unsigned i = n_before(now, at);
    const struct buffer *buffer = i ? &now->buffer[i - 1] : NULL;
    if (!buffer || (const unsigned char *)at + n_byte > buffer->base + buffer->n_byte)
        give_up("memory outside all buffers is touched");
}

void simt_barrier(unsigned line)
{
    struct thread *self = &now->thread[simt_self.tid];

    if (now->n_at_barrier == 0)
        now->line = line;
    else if (now->line != line)
        give_up("threads of a block meet different barriers");
    if (++now->n_at_barrier == now->n_thread) {
        now->n_at_barrier = 0;
        for (unsigned i = 0; i < now->n_thread; i++)
            now->thread[i].state = READY;
        return;
    }
    self->state = AT_BARRIER;
    wait_for_scheduler();
}

void simt_cp_async16(void *shared, const void *global, unsigned n_byte)
{
    struct thread *self = &now->thread[simt_self.tid];

    if ((uintptr_t)shared % 16 || (n_byte && (uintptr_t)global % 16) || n_byte > 16)
        give_up("cp.async of 16 bytes is not aligned");
    if (n_byte)
        simt_global(global, n_byte);
    if (self->n_copy == self->room_copy) {
        unsigned room = 2 * self->room_copy + 16;
        struct copy *copy = (struct copy *)realloc(self->copy, room * sizeof *copy);
        if (!copy) {
            now->nomem = true;
            give_up("not enough memory");
        }
        self->copy = copy;
        self->room_copy = room;
    }
    memset(shared, 0xff, 16);
    self->copy[self->n_copy++] =
        copy{(unsigned char *)shared, (const unsigned char *)global, n_byte, self->group};
}

void simt_cp_commit(void)
{
    now->thread[simt_self.tid].group++;
}

void simt_cp_wait(unsigned n_left)
{
    struct thread *self = &now->thread[simt_self.tid];
    unsigned kept = 0;

    for (unsigned i = 0; i < self->n_copy; i++) {
        struct copy *copy = &self->copy[i];
        if (copy->group + n_left >= self->group) { /* one of the latest, or not committed */
            self->copy[kept++] = *copy;
            continue;
        }
        memset(copy->shared, 0, 16);
        if (copy->n_byte)
            memcpy(copy->shared, copy->global, copy->n_byte);
    }
    self->n_copy = kept;
}

/* --- collectives ------------------------------------------------------------------------------ */

void simt_shfl_xor(struct simt_slot lane[32], unsigned mask)
{
    for (unsigned i = 0; i < 32; i++)
        lane[i].out[0] = lane[i ^ mask].in[0];
}

/*
 * PTX ISA, ldmatrix .x4 .b16: lane 8 i + r brings the address of row r of 8x8 matrix i; register i
 * of lane l gets row l / 4, columns 2 (l % 4) and the next. With .trans: of the transposed matrix.
 */
static uint16_t element(const struct simt_slot lane[32], unsigned matrix, unsigned row,
                        unsigned col)
{
    uint16_t value;
    memcpy(&value, (const char *)lane[8 * matrix + row].address + 2 * col, sizeof value);
    return value;
}

static void ldmatrix(struct simt_slot lane[32], bool trans)
{
    for (unsigned l = 0; l < 32; l++)
        for (unsigned i = 0; i < 4; i++) {
            unsigned major = l / 4, minor = l % 4 * 2;
            uint32_t low = trans ? element(lane, i, minor, major) : element(lane, i, major, minor);
            uint32_t high =
                trans ? element(lane, i, minor + 1, major) : element(lane, i, major, minor + 1);
            lane[l].out[i] = low | high << 16;
        }
}

void simt_ldmatrix_x4(struct simt_slot lane[32], unsigned)
{
    ldmatrix(lane, false);
}

void simt_ldmatrix_x4_trans(struct simt_slot lane[32], unsigned)
{
    ldmatrix(lane, true);
}

static float bf16(uint32_t pair, unsigned which)
{
    uint32_t bits = which ? pair & 0xffff0000u : pair << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/*
 * PTX ISA, mma.m16n8k16 .row.col .bf16: with g = lane / 4 and t = lane % 4,
 *   A[16][16]: register i holds row g + 8 (i % 2), columns 2 t + 8 (i / 2) and the next
 *   B[16][8]:  register i holds rows 2 t + 8 i and the next, column g
 *   C, D[16][8]: register i holds row g + 8 (i / 2), column 2 t + i % 2
 * A in in[0..3], B in in[4..5]; C comes and D leaves in out[0..3].
 */
void simt_mma_16816_bf16(struct simt_slot lane[32], unsigned)
{
    float a[16][16], b[16][8];
    for (unsigned l = 0; l < 32; l++) {
        unsigned g = l / 4, t = l % 4;
        for (unsigned i = 0; i < 4; i++)
            for (unsigned j = 0; j < 2; j++)
                a[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + j] = bf16(lane[l].in[i], j);
        for (unsigned i = 0; i < 2; i++)
            for (unsigned j = 0; j < 2; j++)
                b[2 * t + 8 * i + j][g] = bf16(lane[l].in[4 + i], j);
    }
    for (unsigned l = 0; l < 32; l++)
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = l / 4 + 8 * (i / 2), col = l % 4 * 2 + i % 2;
            float sum;
            memcpy(&sum, &lane[l].out[i], sizeof sum);
            for (unsigned k = 0; k < 16; k++)
                sum += a[row][k] * b[k][col];
            memcpy(&lane[l].out[i], &sum, sizeof sum);
        }
}

/* --- the scheduler ---------------------------------------------------------------------------- */

static void entry()
{
    now->body(now->arg);
    now->thread[simt_self.tid].state = DONE;
    now->n_done++;
    while (now)
        wait_for_scheduler();
}

static bool runnable(const struct simt *simt, unsigned i)
{
    return simt->thread[i].state == READY || simt->thread[i].state == FRESH;
}

/* The next thread to run, n_thread if none can. last: the one that ran before. */
static unsigned pick(struct simt *simt, unsigned last)
{
    unsigned n = simt->n_thread, start, step = 1;

    switch (simt->schedule) {
    case SIMT_FORWARD:
        start = last + 1;
        break;
    case SIMT_REVERSE:
        start = last + n - 1;
        step = n - 1;
        break;
    case SIMT_RANDOM:
        simt->random = simt->random * 6364136223846793005u + 1442695040888963407u;
        start = (unsigned)((simt->random >> 33) % n);
        break;
    case SIMT_LAST:
        start = n - 1;
        step = n - 1;
        break;
    default:
        start = 0;
    }
    for (unsigned i = 0, at = start % n; i < n; i++, at = (at + step) % n)
        if (runnable(simt, at))
            return at;
    return n;
}

static void run_block(struct simt *simt)
{
    unsigned last = simt->schedule == SIMT_REVERSE ? 0 : simt->n_thread - 1;

    simt->n_done = simt->n_at_barrier = 0;
    for (unsigned i = 0; i < simt->n_thread; i++) {
        simt->thread[i].state = FRESH;
        simt->thread[i].n_copy = simt->thread[i].group = 0;
    }
    memset(simt->warp, 0, sizeof simt->warp);
    while (simt->n_done < simt->n_thread && !simt->failed) {
        unsigned at = pick(simt, last);
        if (at == simt->n_thread) {
            describe_stall(simt);
            break;
        }
        struct thread *thread = &simt->thread[at];
        if (thread->state == FRESH)
            fiber_begin(&thread->fiber, simt->stacks + at * stack_bytes, entry);
        thread->state = READY;
        simt_self.tid = at;
        fiber_switch(&simt->scheduler, &thread->fiber);
        last = at;
    }
}

enum kvs_code simt_run(struct simt *simt, unsigned grid_x, unsigned grid_y, unsigned block,
                       size_t shared_bytes, void (*body)(void *arg), void *arg, struct kvs_err *err)
{
    bool backwards = simt->schedule == SIMT_REVERSE || simt->schedule == SIMT_LAST;
    size_t n_block = (size_t)grid_x * grid_y;

    if (block == 0 || block % 32 || block > MAX_THREAD)
        return kvs_fail(err, KVS_ERR_ARG, "simt: blocks of %u threads", block);
    simt->n_thread = block;
    simt->shared_bytes = shared_bytes;
    simt->launched = true;
    simt->body = body;
    simt->arg = arg;
    simt->failed = simt->nomem = false;
    now = simt;
#if defined(__SANITIZE_ADDRESS__)
    /* what an ended launch left of its frames */
    __asan_unpoison_memory_region(simt->stacks, stack_bytes * block);
#endif
    for (size_t i = 0; i < n_block && !simt->failed; i++) {
        size_t b = backwards ? n_block - 1 - i : i;
        void *shared = NULL; /* its own allocation, so that a sanitizer sees one byte too many */
        if (posix_memalign(&shared, 128, shared_bytes ? shared_bytes : 1))
            return kvs_nomem(err);
        memset(shared, 0xff, shared_bytes);
        simt_self.bid_x = (unsigned)(b % grid_x);
        simt_self.bid_y = (unsigned)(b / grid_x);
        simt_self.block = block;
        simt_self.grid_x = grid_x;
        simt_self.mutant = simt->mutant;
        simt_self.shared = (unsigned char *)shared;
        run_block(simt);
        free(shared);
    }
    now = NULL;
    if (simt->nomem)
        return kvs_nomem(err);
    return simt->failed ? kvs_fail(err, KVS_ERR_DEVICE, "simt: %s", simt->why) : KVS_OK;
}
