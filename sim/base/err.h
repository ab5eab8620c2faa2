/*
 * err.h - the one error type: a code for programs, a sentence for people.
 *
 * A function that can fail returns its code and takes a struct kvs_err *, which may be NULL when
 * the caller wants only the code. The first failure is kept: a later kvs_fail on the same err
 * changes nothing. Library code never prints; main prints msg and picks the exit status by
 * kvs_exit_status.
 */
#ifndef KVS_BASE_ERR_H
#define KVS_BASE_ERR_H

#include <stddef.h>

#define KVS_MUST_CHECK __attribute__((warn_unused_result))
#define KVS_PRINTF(fmt_i, arg_i) __attribute__((format(printf, fmt_i, arg_i)))

enum kvs_code {
    KVS_OK = 0,
    KVS_ERR_ARG,    /* a command-line option or an argument is wrong */
    KVS_ERR_PARSE,  /* a file does not follow its format */
    KVS_ERR_RANGE,  /* a value is outside what would do, or does not fit */
    KVS_ERR_NOMEM,  /* no memory; say it with kvs_nomem */
    KVS_ERR_IO,     /* the operating system refused: open, read, write, disk full */
    KVS_ERR_DEVICE, /* no device, or a device failed */
    KVS_ERR_ABSENT, /* something optional is not there: a tool, a library, a data file */
    KVS_ERR_CHECK,  /* a result failed its check */
};

struct kvs_err {
    enum kvs_code code; /* KVS_OK until something fails */
    char msg[512];      /* "conversation.jsonl:17: output_length: -4 is negative" */
};

/*
 * Records the failure unless err already holds one (or is NULL); returns code, for `return
 * kvs_fail(...)`. Control bytes in what was found are replaced, and a message that is too long ends
 * in "...".
 */
enum kvs_code kvs_fail(struct kvs_err *err, enum kvs_code code, const char *fmt, ...)
    KVS_PRINTF(3, 4);

/* The failure "not enough memory". */
enum kvs_code kvs_nomem(struct kvs_err *err);

/* Of a file that can't be opened, by errno: a name that leads to none is wrong input (KVS_ERR_ARG),
 * all else the system's refusal (KVS_ERR_IO). */
enum kvs_code kvs_errno_code(int error);

/* 0 for KVS_OK; 2 where the input is wrong (ARG, PARSE, RANGE); 3 for ABSENT (skipped); 1 for the
 * rest. */
int kvs_exit_status(enum kvs_code code);

/*
 * The name nearest to word among n names, for "did you mean": least edit distance (transpositions
 * count one, capitals equal small letters), ties to the first. NULL if none is near: distance over
 * a third of the longer length, rounded up, or nothing in common.
 */
const char *kvs_nearest(const char *word, const char *const *names, unsigned n);

/* For the end of a message: `; did you mean "near"? known: a, b, c` into buf, which is returned. */
char *kvs_known(char *buf, size_t room, const char *word, const char *const *names, unsigned n);

#endif
