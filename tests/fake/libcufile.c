/* A cuFile that reads with pread; KVS_FAKE_CUFILE names the call that fails. Unless it says "on",
 * the driver does not open. */
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct error {
    int error, cuda_error;
};
struct descr {
    int type;
    union {
        int fd;
        void *handle;
    } handle;
    const void *fs_ops;
};
struct error cuFileDriverOpen(void);
struct error cuFileDriverClose(void);
struct error cuFileHandleRegister(void **handle, struct descr *descr);
void cuFileHandleDeregister(void *handle);
struct error cuFileBufRegister(const void *base, size_t n_byte, int flags);
struct error cuFileBufDeregister(const void *base);
ssize_t cuFileRead(void *handle, void *base, size_t n_byte, off_t at, off_t base_at);

static int is(const char *what)
{
    const char *which = getenv("KVS_FAKE_CUFILE");
    return which && strcmp(which, what) == 0;
}

struct error cuFileDriverOpen(void)
{
    return (struct error){getenv("KVS_FAKE_CUFILE") ? 0 : 5001, 0};
}

struct error cuFileDriverClose(void)
{
    return (struct error){0, 0};
}

struct error cuFileHandleRegister(void **handle, struct descr *descr)
{
    int *fd = malloc(sizeof *fd);
    *fd = descr->handle.fd;
    *handle = fd;
    if (descr->type != 1 || is("register")) {
        free(fd);
        return (struct error){5030, 0};
    }
    return (struct error){0, 0};
}

void cuFileHandleDeregister(void *handle)
{
    free(handle);
}

struct error cuFileBufRegister(const void *base, size_t n_byte, int flags)
{
    (void)base, (void)n_byte, (void)flags;
    return (struct error){0, 0};
}

struct error cuFileBufDeregister(const void *base)
{
    (void)base;
    return (struct error){0, 0};
}

ssize_t cuFileRead(void *handle, void *base, size_t n_byte, off_t at, off_t base_at)
{
    if (is("read"))
        return -5022;
    void *aligned =
        aligned_alloc(4096, n_byte); /* the file may want it, device memory need not be */
    ssize_t n = pread(*(int *)handle, aligned, n_byte, at);
    memcpy((char *)base + base_at, aligned, n_byte);
    free(aligned);
    if (is("flip"))
        *((char *)base + base_at) ^= 1;
    return n;
}
