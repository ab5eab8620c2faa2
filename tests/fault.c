#include "fault.h"

#include "test.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum kvs_fault armed;
static unsigned left;
static bool struck;
static pthread_mutex_t hang_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hang_over = PTHREAD_COND_INITIALIZER;
static bool hangs; /* of hang_lock */

/* True if this call is the one that fails. */
static bool strikes(enum kvs_fault kind)
{
    if (armed != kind || left == 0 || --left > 0)
        return false;
    struck = true;
    errno = kind == KVS_FAULT_MEM ? ENOMEM : EIO;
    return true;
}

/* The linker gives these their other half: a call of f reaches __wrap_f, __real_f is libc's. */
/* NOLINTBEGIN(bugprone-reserved-identifier) */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
int __real_open(const char *path, int flags, ...);
ssize_t __real_read(int fd, void *buf, size_t n);
ssize_t __real_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __real_write(int fd, const void *buf, size_t n);
int __real_mkdir(const char *path, mode_t mode);
int __real_rename(const char *from, const char *to);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __real_fsync(int fd);
void *__real_mmap(void *at, size_t n, int protect, int flags, int fd, off_t offset);
FILE *__real_fdopen(int fd, const char *mode);
FILE *__real_fopen(const char *path, const char *mode);
int __real_fflush(FILE *file);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
int __wrap_asprintf(char **text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_read(int fd, void *buf, size_t n);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_write(int fd, const void *buf, size_t n);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_rename(const char *from, const char *to);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_fsync(int fd);
void *__wrap_mmap(void *at, size_t n, int protect, int flags, int fd, off_t offset);
FILE *__wrap_fdopen(int fd, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
int __wrap_fflush(FILE *file);

void *__wrap_malloc(size_t n)
{
    return strikes(KVS_FAULT_MEM) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return strikes(KVS_FAULT_MEM) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return strikes(KVS_FAULT_MEM) ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return strikes(KVS_FAULT_MEM) ? NULL : __real_aligned_alloc(align, n);
}

char *__wrap_strdup(const char *s)
{
    return strikes(KVS_FAULT_MEM) ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
    return strikes(KVS_FAULT_MEM) ? NULL : __real_strndup(s, n);
}

int __wrap_asprintf(char **text, const char *fmt, ...)
{
    va_list args;
    if (strikes(KVS_FAULT_MEM))
        return -1;
    va_start(args, fmt);
    int n = vasprintf(text, fmt, args);
    va_end(args);
    return n;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return strikes(KVS_FAULT_IO) ? -1 : __real_open(path, flags, mode);
}

ssize_t __wrap_read(int fd, void *buf, size_t n)
{
    return strikes(KVS_FAULT_IO) ? -1 : __real_read(fd, buf, n);
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at)
{
    pthread_mutex_lock(&hang_lock);
    if (strikes(KVS_FAULT_HANG))
        while (hangs)
            pthread_cond_wait(&hang_over, &hang_lock);
    pthread_mutex_unlock(&hang_lock);
    if (armed == KVS_FAULT_CUT) {
        if (struck)
            return 0;
        n = strikes(KVS_FAULT_CUT) ? n / 2 : n;
    }
    return strikes(KVS_FAULT_IO) ? -1 : __real_pread(fd, buf, n, at);
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
    return strikes(KVS_FAULT_IO) ? -1 : __real_write(fd, buf, n);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    return strikes(KVS_FAULT_IO) ? -1 : __real_mkdir(path, mode);
}

int __wrap_rename(const char *from, const char *to)
{
    return strikes(KVS_FAULT_IO) ? -1 : __real_rename(from, to);
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    return strikes(KVS_FAULT_IO) ? -1 : __real_renameat2(from_fd, from, to_fd, to, flags);
}

void *__wrap_mmap(void *at, size_t n, int protect, int flags, int fd, off_t offset)
{
    return strikes(KVS_FAULT_IO) ? MAP_FAILED : __real_mmap(at, n, protect, flags, fd, offset);
}

FILE *__wrap_fdopen(int fd, const char *mode)
{
    return strikes(KVS_FAULT_IO) ? NULL : __real_fdopen(fd, mode);
}

int __wrap_fsync(int fd)
{
    return strikes(KVS_FAULT_IO) ? -1 : __real_fsync(fd);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    return strikes(KVS_FAULT_IO) ? NULL : __real_fopen(path, mode);
}

int __wrap_fflush(FILE *file)
{
    return strikes(KVS_FAULT_IO) ? EOF : __real_fflush(file);
}
/* NOLINTEND(bugprone-reserved-identifier) */

void kvs_fault_at(enum kvs_fault kind, unsigned n)
{
    json_set_alloc_funcs(malloc, free); /* this file's calls are wrapped: Jansson's then too */
    pthread_mutex_lock(&hang_lock);
    armed = kind;
    left = n;
    struck = false;
    hangs = kind == KVS_FAULT_HANG;
    pthread_mutex_unlock(&hang_lock);
}

bool kvs_fault_end(void)
{
    pthread_mutex_lock(&hang_lock);
    armed = KVS_FAULT_NONE;
    hangs = false;
    pthread_cond_broadcast(&hang_over);
    pthread_mutex_unlock(&hang_lock);
    return struck;
}

void kvs_fault_every(enum kvs_fault kind, bool strict,
                     enum kvs_code (*work)(void *ctx, struct kvs_err *err), void *ctx)
{
    const enum kvs_code want = kind == KVS_FAULT_MEM ? KVS_ERR_NOMEM : KVS_ERR_IO;
    unsigned n = 1;
    for (bool more = true; more; n++) {
        struct kvs_err err = {0};
        kvs_fault_at(kind, n);
        enum kvs_code code = work(ctx, &err);
        more = kvs_fault_end();
        if (!more && code)
            fail_msg("without a fault: %s", err.msg);
        if (more && strict && code != want)
            fail_msg("call %u failed: code %d, \"%s\"", n, code, err.msg);
        assert_int_equal(err.code, code);
        assert_int_equal(err.msg[0] == '\0', code == KVS_OK);
    }
    assert_true(n > 2);
}
