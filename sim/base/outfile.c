#include "outfile.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct kvs_outfile {
    char *path;   /* the target, links followed */
    char *parent; /* its folder */
    char *stem;   /* ".NAME.kvsim-" */
    char *tmp;    /* NULL: not made, or in place */
    FILE *file;
};

static enum kvs_code fail_at(const char *path, struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno ? errno : EIO));
}

/* Removes what killed writers left; a living one holds the lock. */
static void remove_leftovers(const struct kvs_outfile *out)
{
    DIR *dir = opendir(out->parent);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char *path;
        if (strncmp(entry->d_name, out->stem, strlen(out->stem)) != 0 ||
            asprintf(&path, "%s/%s", out->parent, entry->d_name) < 0)
            continue;
        int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            (void)unlink(path); /* fails on a folder of outdir.h, which has the same names */
        if (fd >= 0)
            close(fd);
        free(path);
    }
    if (dir)
        closedir(dir);
}

static enum kvs_code find_place(struct kvs_outfile *out, const char *path, struct kvs_err *err)
{
    struct stat st;
    bool linked = lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
    if (linked && stat(path, &st) != 0)
        return kvs_fail(err, KVS_ERR_ARG, "%s is a link to nothing; give another name", path);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return kvs_fail(err, KVS_ERR_ARG, "%s exists and is no regular file; give another name",
                        path);
    out->path = linked ? realpath(path, NULL) : strdup(path);
    if (!out->path)
        return kvs_nomem(err);
    const char *slash = strrchr(out->path, '/');
    out->parent = !slash               ? strdup(".")
                  : slash == out->path ? strdup("/")
                                       : strndup(out->path, (size_t)(slash - out->path));
    if (asprintf(&out->stem, ".%s.kvsim-", slash ? slash + 1 : out->path) < 0)
        out->stem = NULL;
    return out->parent && out->stem ? KVS_OK : kvs_nomem(err);
}

/* Makes and locks tmp; another writer may take it for a leftover before the lock: then once more.
 */
static enum kvs_code make_tmp(struct kvs_outfile *out, struct kvs_err *err)
{
    for (unsigned i = 0; i < 100; i++) {
        struct stat st;
        free(out->tmp);
        if (asprintf(&out->tmp, "%s/%s%ld-%u", out->parent, out->stem, (long)getpid(), i) < 0) {
            out->tmp = NULL;
            return kvs_nomem(err);
        }
        int fd = open(out->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno == EEXIST)
            continue;
        if (fd < 0)
            break;
        if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &st) != 0 || st.st_nlink == 0) {
            close(fd);
            continue;
        }
        out->file = fdopen(fd, "w+b");
        if (out->file)
            return KVS_OK;
        close(fd);
        (void)unlink(out->tmp);
        break;
    }
    enum kvs_code code = fail_at(out->path, err);
    free(out->tmp);
    out->tmp = NULL;
    return code;
}

enum kvs_code kvs_outfile_begin(const char *path, struct kvs_outfile **result, struct kvs_err *err)
{
    struct kvs_outfile *out = calloc(1, sizeof *out);
    *result = NULL;
    if (!out)
        return kvs_nomem(err);
    enum kvs_code code = find_place(out, path, err);
    if (!code) {
        assert(out->path && out->parent && out->stem);
        remove_leftovers(out);
        code = make_tmp(out, err);
    }
    if (code)
        kvs_outfile_abort(out);
    else
        *result = out;
    return code;
}

FILE *kvs_outfile_stream(const struct kvs_outfile *out)
{
    return out->file;
}

enum kvs_code kvs_outfile_commit(struct kvs_outfile *out, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    errno = 0;
    if (fflush(out->file) != 0 || ferror(out->file) || fsync(fileno(out->file)) != 0 ||
        rename(out->tmp, out->path) != 0) {
        code = fail_at(out->path, err);
    } else {
        free(out->tmp);
        out->tmp = NULL;
    }
    kvs_outfile_abort(out);
    return code;
}

void kvs_outfile_abort(struct kvs_outfile *out)
{
    if (!out)
        return;
    if (out->tmp)
        (void)unlink(out->tmp);
    if (out->file)
        (void)fclose(out->file);
    free(out->path);
    free(out->parent);
    free(out->stem);
    free(out->tmp);
    free(out);
}
