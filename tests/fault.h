/*
 * fault.h - makes the nth call of a kind fail, for tests/fault_*.c.
 *
 * Only those programs are linked with fault.c and the linker's --wrap (Makefile, WRAPPED), which
 * catches the calls of kvsim's own code, not those inside a library. Jansson's memory is caught
 * too.
 */
#ifndef KVS_FAULT_H
#define KVS_FAULT_H

#include <stdbool.h>

enum kvs_fault {
    KVS_FAULT_NONE,
    KVS_FAULT_MEM, /* malloc, calloc, realloc, strdup, strndup, asprintf: no memory */
    KVS_FAULT_IO,  /* open, read, write, mkdir, rename, renameat2, fsync, fopen, fflush: EIO */
};

/* From now on the nth call of the kind (from 1) fails, once. */
void kvs_fault_at(enum kvs_fault kind, unsigned n);
/* Ends it. true: the nth call came, so a larger n may be tried. */
bool kvs_fault_end(void);

#endif
