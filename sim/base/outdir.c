#include "outdir.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Beside the target NAME stand, hidden: .NAME.kvsim-PID-I while a run writes (its marker file is
 * locked as long as the run lives, so a leftover is told by a lock that can be had), and
 * .NAME.kvsim-old for the moment of a swap where the file system can't exchange two names.
 */
#define MARKER ".kvsim"

struct kvs_outdir {
    char *path;   /* target, without trailing slashes */
    char *parent; /* its folder */
    char *stem;   /* ".NAME.kvsim-" */
    char *tmp, *old;
    int lock_fd; /* of tmp's marker; -1: none */
    bool overwrite;
};

static enum kvs_code fail_at(const char *path, struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
}

/* --- trees --- */

/* The tree's root and its marker stay: what is killed here is still known as a leftover. */
static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    if (at->level == 0 || (at->level == 1 && !strcmp(path + at->base, MARKER)))
        return 0;
    return remove(path);
}

static void remove_tree(const char *path)
{
    char marker[PATH_MAX];
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return;
    if ((size_t)snprintf(marker, sizeof marker, "%s/" MARKER, path) < sizeof marker)
        (void)unlink(marker);
    (void)rmdir(path);
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0)
        return -1;
    int failed = fsync(fd);
    int error = errno;
    close(fd);
    errno = error;
    /* a file system that can't sync a folder says so by EINVAL */
    return failed && error != EINVAL ? -1 : 0;
}

static int sync_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    return type == FTW_F || type == FTW_DP ? sync_path(path, 0) : 0;
}

/* Makes the folders on the way to path, and path itself; path is put back as it was. */
static int make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int failed = mkdir(path, 0777) != 0 && errno != EEXIST;
        *slash = '/';
        if (failed)
            return -1;
    }
    return mkdir(path, 0777) != 0 && errno != EEXIST ? -1 : 0;
}

/* --- what stands at the target --- */

enum target {
    TARGET_NONE,
    TARGET_EMPTY,
    TARGET_OURS,
    TARGET_FOREIGN,
    TARGET_LINK,
    TARGET_NO_FOLDER
};

static enum target look_at(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return TARGET_NONE;
    if (S_ISLNK(st.st_mode))
        return TARGET_LINK;
    if (!S_ISDIR(st.st_mode))
        return TARGET_NO_FOLDER;
    DIR *dir = opendir(path);
    enum target found = dir ? TARGET_EMPTY : TARGET_FOREIGN;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, MARKER) == 0) {
            found = TARGET_OURS;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            found = TARGET_FOREIGN;
    }
    if (dir)
        closedir(dir);
    return found;
}

static enum kvs_code check_target(const struct kvs_outdir *out, struct kvs_err *err)
{
    switch (look_at(out->path)) {
    case TARGET_NONE:
        return KVS_OK;
    case TARGET_EMPTY:
    case TARGET_OURS:
        if (out->overwrite)
            return KVS_OK;
        return kvs_fail(err, KVS_ERR_ARG, "%s exists; give another folder, or --overwrite",
                        out->path);
    case TARGET_FOREIGN:
        return kvs_fail(err, KVS_ERR_ARG,
                        "%s holds files that kvsim did not write; give another folder", out->path);
    case TARGET_LINK:
        return kvs_fail(err, KVS_ERR_ARG,
                        "%s is a symbolic link; give the folder that it points to", out->path);
    case TARGET_NO_FOLDER:
        break;
    }
    return kvs_fail(err, KVS_ERR_ARG, "%s exists and is no folder; give another name", out->path);
}

/* --- leftovers --- */

/* Removes the folder that a killed run left; that of a living one stays. */
static void remove_leftover(const char *tmp)
{
    char *marker;
    if (asprintf(&marker, "%s/" MARKER, tmp) < 0)
        return;
    int fd = open(marker, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        (void)rmdir(tmp); /* the marker comes first: without it the folder is empty */
    else if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        remove_tree(tmp);
    if (fd >= 0)
        close(fd);
    free(marker);
}

static void remove_leftovers(const struct kvs_outdir *out)
{
    DIR *dir = opendir(out->parent);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char *tmp;
        if (strncmp(entry->d_name, out->stem, strlen(out->stem)) != 0 ||
            asprintf(&tmp, "%s/%s", out->parent, entry->d_name) < 0)
            continue;
        if (strcmp(tmp, out->old) != 0)
            remove_leftover(tmp);
        free(tmp);
    }
    if (dir)
        closedir(dir);
    /* killed between the two renames of a swap: the old result comes back */
    if (look_at(out->path) == TARGET_NONE)
        (void)rename(out->old, out->path);
    else
        remove_tree(out->old);
}

/* --- begin --- */

static enum kvs_code make_names(struct kvs_outdir *out, const char *path, struct kvs_err *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    out->path = strndup(path, n);
    if (!out->path)
        return kvs_nomem(err);
    char *slash = strrchr(out->path, '/');
    const char *name = slash ? slash + 1 : out->path;
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return kvs_fail(err, KVS_ERR_ARG, "found \"%s\", want the name of a folder to make", path);
    out->parent = !slash               ? strdup(".")
                  : slash == out->path ? strdup("/")
                                       : strndup(out->path, (size_t)(slash - out->path));
    if (asprintf(&out->stem, ".%s.kvsim-", name) < 0)
        out->stem = NULL;
    if (!out->parent || !out->stem)
        return kvs_nomem(err);
    if (asprintf(&out->old, "%s/%sold", out->parent, out->stem) < 0) {
        out->old = NULL;
        return kvs_nomem(err);
    }
    return KVS_OK;
}

/* Writes and locks tmp's marker. -1: not done, see errno. */
static int make_marker(const char *tmp)
{
    static const char text[] = "kvsim wrote this folder and replaces it when told --overwrite.\n";
    char *marker;
    if (asprintf(&marker, "%s/" MARKER, tmp) < 0)
        return -1;
    int fd = open(marker, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    free(marker);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && write(fd, text, sizeof text - 1) == sizeof text - 1)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static enum kvs_code make_tmp(struct kvs_outdir *out, struct kvs_err *err)
{
    for (unsigned i = 0; i < 100; i++) {
        free(out->tmp);
        if (asprintf(&out->tmp, "%s/%s%ld-%u", out->parent, out->stem, (long)getpid(), i) < 0) {
            out->tmp = NULL;
            return kvs_nomem(err);
        }
        if (mkdir(out->tmp, 0777) != 0) {
            if (errno == EEXIST)
                continue;
            break;
        }
        out->lock_fd = make_marker(out->tmp);
        if (out->lock_fd >= 0)
            return KVS_OK;
        /* another run may have taken the newborn folder for a leftover: then once more */
        if (errno != ENOENT && errno != EWOULDBLOCK)
            break;
    }
    enum kvs_code code = kvs_fail(err, KVS_ERR_IO, "%s: no folder can be made in %s: %s", out->path,
                                  out->parent, strerror(errno));
    remove_tree(out->tmp);
    return code;
}

enum kvs_code kvs_outdir_begin(const char *path, bool overwrite, struct kvs_outdir **result,
                               struct kvs_err *err)
{
    struct kvs_outdir *out = calloc(1, sizeof *out);
    *result = NULL;
    if (!out)
        return kvs_nomem(err);
    out->lock_fd = -1;
    out->overwrite = overwrite;
    enum kvs_code code = make_names(out, path, err);
    if (code == KVS_OK) {
        assert(out->path && out->parent && out->stem && out->old);
        code = check_target(out, err);
    }
    if (code == KVS_OK && make_folders(out->parent) != 0)
        code = fail_at(out->parent, err);
    if (code == KVS_OK) {
        remove_leftovers(out);
        code = check_target(out, err); /* an old result may have come back */
    }
    if (code == KVS_OK)
        code = make_tmp(out, err);
    if (code == KVS_OK)
        *result = out;
    else
        kvs_outdir_abort(out);
    return code;
}

/* --- files --- */

static bool good_name(const char *name)
{
    const char *slash = strchr(name, '/');
    return *name && *name != '.' && *name != '/' &&
           (!slash || (slash[1] && slash[1] != '.' && !strchr(slash + 1, '/')));
}

FILE *kvs_outdir_file(struct kvs_outdir *out, const char *name, struct kvs_err *err)
{
    char *path;
    assert(good_name(name));
    if (asprintf(&path, "%s/%s", out->tmp, name) < 0) {
        kvs_nomem(err);
        return NULL;
    }
    char *slash = strrchr(path, '/');
    FILE *file = NULL;
    *slash = '\0';
    bool ok = mkdir(path, 0777) == 0 || errno == EEXIST;
    *slash = '/';
    if (ok)
        file = fopen(path, "we");
    if (!file)
        fail_at(path, err);
    free(path);
    return file;
}

enum kvs_code kvs_outdir_close(struct kvs_outdir *out, FILE *file, struct kvs_err *err)
{
    bool bad = ferror(file) != 0;
    errno = 0;
    bad |= fflush(file) != 0;
    int error = errno;
    if (bad && !error) { /* why an earlier write failed is forgotten: one more fails alike */
        clearerr(file);
        errno = 0;
        (void)(fputc('\n', file) == EOF || fflush(file));
        error = errno;
    }
    if (fclose(file) != 0) {
        bad = true;
        error = error ? error : errno;
    }
    if (!bad)
        return KVS_OK;
    return kvs_fail(err, KVS_ERR_IO, "%s: a file could not be written: %s", out->path,
                    error ? strerror(error) : "an earlier write failed");
}

const char *kvs_outdir_tmp(const struct kvs_outdir *out)
{
    return out->tmp;
}

/* --- end --- */

/* tmp takes path's place, where something stands that may go; what stood there is then at tmp. */
static int swap(const struct kvs_outdir *out)
{
    if (renameat2(AT_FDCWD, out->tmp, AT_FDCWD, out->path, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (rename(out->path, out->old) != 0)
        return -1;
    if (rename(out->tmp, out->path) != 0) {
        int error = errno;
        (void)rename(out->old, out->path);
        errno = error;
        return -1;
    }
    remove_tree(out->old);
    return 0;
}

static int put_in_place(const struct kvs_outdir *out)
{
    if (look_at(out->path) != TARGET_NONE)
        return swap(out);
    if (renameat2(AT_FDCWD, out->tmp, AT_FDCWD, out->path, RENAME_NOREPLACE) == 0)
        return 0;
    return errno == EINVAL || errno == ENOSYS ? rename(out->tmp, out->path) : -1;
}

static void end(struct kvs_outdir *out)
{
    if (out->lock_fd >= 0)
        close(out->lock_fd);
    free(out->path);
    free(out->parent);
    free(out->stem);
    free(out->tmp);
    free(out->old);
    free(out);
}

enum kvs_code kvs_outdir_commit(struct kvs_outdir *out, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    if (nftw(out->tmp, sync_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        code = fail_at(out->tmp, err);
    if (code == KVS_OK)
        code = check_target(out, err); /* it may have changed during the run */
    if (code == KVS_OK && put_in_place(out) != 0)
        code = fail_at(out->path, err);
    if (code) {
        kvs_outdir_abort(out);
        return code;
    }
    (void)sync_path(out->parent, O_DIRECTORY); /* in place already: only a power cut could tell */
    remove_tree(out->tmp);                     /* what was replaced, if anything */
    end(out);
    return KVS_OK;
}

void kvs_outdir_abort(struct kvs_outdir *out)
{
    if (!out)
        return;
    if (out->tmp && out->lock_fd >= 0)
        remove_tree(out->tmp);
    end(out);
}
