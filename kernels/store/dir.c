/* dir.c - a store that is a folder: XX/KEY.TAG.kvf. */
#include "base/outfile.h"
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char suffix[] = ".kvf";

struct dir {
    char *path;
};

static enum kvs_code fail_at(const char *path, struct kvs_err *err)
{
    const char *hint = errno == EMFILE ? " (raise it with ulimit -n)" : "";
    return kvs_fail(err, KVS_ERR_IO, "%s: %s%s", path, strerror(errno ? errno : EIO), hint);
}

/* Calls each for every entry of every folder XX; a folder that goes meanwhile is empty. */
static enum kvs_code walk(const char *path,
                          enum kvs_code (*each)(void *ctx, int dir_fd, const char *name,
                                                struct kvs_err *err),
                          void *ctx, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;

    for (unsigned i = 0; i < 256 && !code; i++) {
        char *sub;
        if (asprintf(&sub, "%s/%02x", path, i) < 0)
            return kvs_nomem(err);
        DIR *dir = opendir(sub);
        if (!dir && errno != ENOENT && errno != ENOTDIR)
            code = fail_at(sub, err);
        for (struct dirent *entry; dir && !code && (entry = readdir(dir));)
            code = each(ctx, dirfd(dir), entry->d_name, err);
        if (dir)
            closedir(dir);
        free(sub);
    }
    return code;
}

/* A hidden file of outfile.h's whose writer, who would hold its lock, is gone. */
static enum kvs_code sweep(void *ctx, int dir_fd, const char *name, struct kvs_err *err)
{
    (void)ctx;
    (void)err;
    if (name[0] != '.' || !strstr(name, ".kvf.kvsim-"))
        return KVS_OK;
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        (void)unlinkat(dir_fd, name, 0);
    if (fd >= 0)
        (void)close(fd);
    return KVS_OK;
}

static void dir_close(void *at)
{
    struct dir *dir = at;
    if (dir)
        free(dir->path);
    free(dir);
}

static enum kvs_code dir_open(const char *where, const struct kvs_store_opt *opt, void **at,
                              struct kvs_err *err)
{
    struct stat st;
    struct dir *dir = calloc(1, sizeof *dir);
    enum kvs_code code = KVS_OK;

    *at = NULL;
    if (dir)
        dir->path = strdup(where);
    if (!dir || !dir->path) {
        dir_close(dir);
        return kvs_nomem(err);
    }
    if ((opt->make && mkdir(where, 0777) != 0 && errno != EEXIST) || stat(where, &st) != 0)
        code = fail_at(where, err);
    else if (!S_ISDIR(st.st_mode))
        code = kvs_fail(err, KVS_ERR_ARG, "%s is no folder; a store is one", where);
    if (!code)
        code = walk(where, sweep, NULL, err);
    if (code)
        dir_close(dir);
    else
        *at = dir;
    return code;
}

static char *dir_name(void *at, const struct kvs_block_key *key, const char *tag)
{
    const struct dir *dir = at;
    char *name;
    int n = asprintf(&name, "%s/%02x/" KVS_KEY_FMT ".%s%s", dir->path,
                     (unsigned)(key->word[0] >> 56), KVS_KEY_ARG(key), tag, suffix);
    return n < 0 ? NULL : name;
}

static enum kvs_code make_parent(const char *name, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    char *parent = strndup(name, (size_t)(strrchr(name, '/') - name));

    if (!parent)
        return kvs_nomem(err);
    if (mkdir(parent, 0777) != 0 && errno != EEXIST)
        code = fail_at(parent, err);
    free(parent);
    return code;
}

static enum kvs_code dir_put(void *at, const char *name, const uint8_t *file, size_t n_byte,
                             bool *there, struct kvs_err *err)
{
    struct kvs_outfile *out;
    struct stat st;

    (void)at;
    if (lstat(name, &st) == 0 && S_ISREG(st.st_mode)) {
        *there = true;
        return KVS_OK;
    }
    enum kvs_code code = make_parent(name, err);
    if (!code)
        code = kvs_outfile_begin(name, &out, err);
    if (code)
        return code;
    if (fwrite(file, 1, n_byte, kvs_outfile_stream(out)) != n_byte) {
        code = fail_at(name, err);
        kvs_outfile_abort(out);
        return code;
    }
    return kvs_outfile_commit(out, err);
}

static enum kvs_code dir_find(void *at, struct kvs_stored *block, struct kvs_err *err)
{
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    struct stat st;

    (void)at;
    block->direct = true;
    block->fd = open(block->name, flags | O_DIRECT);
    if (block->fd < 0 && errno == EINVAL) {
        block->direct = false; /* a file system without it */
        block->fd = open(block->name, flags);
    }
    if (block->fd < 0 && errno == ENOENT)
        return KVS_OK;
    if (block->fd < 0 || fstat(block->fd, &st) != 0)
        return fail_at(block->name, err);
    if (!S_ISREG(st.st_mode))
        return kvs_fail(err, KVS_ERR_PARSE, "%s is no regular file", block->name);
    block->held = true;
    block->n_byte = (uint64_t)st.st_size;
    return KVS_OK;
}

static enum kvs_code dir_read(void *at, const struct kvs_stored *block, uint64_t at_bytes,
                              size_t n_byte, uint8_t *to, struct kvs_err *err)
{
    size_t done = 0;

    (void)at;
    while (done < n_byte) {
        ssize_t n = pread(block->fd, to + done, n_byte - done, (off_t)(at_bytes + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_at(block->name, err);
        if (n == 0)
            return kvs_fail(err, KVS_ERR_PARSE, "%s: ends at byte %llu, want %llu", block->name,
                            (unsigned long long)at_bytes + done,
                            (unsigned long long)at_bytes + n_byte);
        done += (size_t)n;
    }
    return KVS_OK;
}

static enum kvs_code dir_drop(void *at, const char *name, struct kvs_err *err)
{
    (void)at;
    return unlink(name) == 0 || errno == ENOENT ? KVS_OK : fail_at(name, err);
}

struct lister {
    kvs_entry_fn *each;
    void *ctx;
};

/* Whatever else lies in the folder is no block. */
static enum kvs_code list_one(void *ctx, int dir_fd, const char *name, struct kvs_err *err)
{
    const struct lister *lister = ctx;
    struct kvs_store_entry entry = {0};
    struct stat st;
    size_t n = strlen(name), n_suffix = sizeof suffix - 1;

    if (n < n_suffix || strcmp(name + n - n_suffix, suffix) != 0 ||
        !kvs_block_name_parse(name, n - n_suffix, &entry.key, entry.tag) ||
        fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return KVS_OK;
    entry.n_byte = (uint64_t)st.st_size;
    return lister->each(lister->ctx, &entry, err);
}

static enum kvs_code dir_list(void *at, kvs_entry_fn *each, void *ctx, struct kvs_err *err)
{
    const struct dir *dir = at;
    struct lister lister = {each, ctx};

    return walk(dir->path, list_one, &lister, err);
}

const struct kvs_store_ops kvs_store_dir_ops = {
    .prefix = "",
    .open = dir_open,
    .close = dir_close,
    .put = dir_put,
    .find = dir_find,
    .read = dir_read,
    .drop = dir_drop,
    .list = dir_list,
    .name = dir_name,
    .path = &kvs_path_uring,
    .other_path = &kvs_path_threads,
};
