/*
 * fault.h - makes the nth call of a kind fail, for tests/fault_*.c.
 *
 * Only those programs are linked with fault.c and the linker's --wrap (Makefile, WRAPPED), which
 * catches the calls of kvsim's own code, not those inside a library. Jansson's memory is caught
 * too.
 */
#ifndef KVS_FAULT_H
#define KVS_FAULT_H

#include "base/err.h"

#include <stdbool.h>

enum kvs_fault {
    KVS_FAULT_NONE,
    KVS_FAULT_MEM,  /* malloc, calloc, realloc, aligned_alloc, strdup, strndup, asprintf: no
                       memory */
    KVS_FAULT_IO,   /* open, read, pread, write, mkdir, rename, renameat2, fsync, fopen, fdopen,
                       fflush, mmap: EIO */
    KVS_FAULT_CUT,  /* pread: brings half of what it would, and from then on nothing: the file was
                     * cut
                     */
    KVS_FAULT_HANG, /* pread: does not return before kvs_fault_end, and then does what it should */
};

/* From now on the nth call of the kind (from 1) fails, once. */
void kvs_fault_at(enum kvs_fault kind, unsigned n);
/* Ends it. true: the nth call came, so a larger n may be tried. */
bool kvs_fault_end(void);

/*
 * Does work again and again while the first, second, ... call of the kind fails, until none does:
 * then it must do well, and before that say what went wrong. strict: any failure must end it, with
 * KVS_ERR_NOMEM or KVS_ERR_IO.
 */
void kvs_fault_every(enum kvs_fault kind, bool strict,
                     enum kvs_code (*work)(void *ctx, struct kvs_err *err), void *ctx);

#endif
