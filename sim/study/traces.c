#include "traces.h"

#include "workloads/trace_filter.h"
#include "workloads/trace_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MAX_SHARED 256 /* open files; traces beyond are read by each point */

struct shared {
    char *key;   /* the trace's own settings as text */
    json_t *own; /* the same, to open it by */
    char *file;  /* of the document that named it: relative paths start there */
    uint64_t seed, n_use, hash;
    int fd; /* -1: not read */
};

struct kvs_traces {
    uint32_t n, room;
    struct shared *shared;
};

struct kvs_traces *kvs_traces_new(void)
{
    return calloc(1, sizeof(struct kvs_traces));
}

void kvs_traces_free(struct kvs_traces *traces)
{
    if (!traces)
        return;
    for (uint32_t i = 0; i < traces->n; i++) {
        struct shared *shared = &traces->shared[i];
        free(shared->key);
        free(shared->file);
        json_decref(shared->own);
        if (shared->fd >= 0)
            close(shared->fd);
    }
    free(traces->shared);
    free(traces);
}

/* What of a `trace` section decides which requests are read; the rest is applied later. */
static const char *const applied_later[] = {"limit",  "rate",      "population",
                                            "sample", "sample_by", "sample_seed"};

static uint64_t seed_of(const struct kvs_doc *doc)
{
    const json_t *seed = json_object_get(kvs_doc_root(doc).v, "seed");
    return seed ? (uint64_t)json_integer_value(seed) : 1;
}

/* The document's trace without what is applied later, and the text that tells it from others; both
 * NULL: there is none. */
static enum kvs_code key_of(const struct kvs_doc *doc, json_t **own, char **key,
                            struct kvs_err *err)
{
    const json_t *trace = json_object_get(kvs_doc_root(doc).v, "trace");
    *own = NULL;
    *key = NULL;
    if (!json_is_object(trace))
        return KVS_OK;
    *own = json_copy((json_t *)trace);
    for (size_t i = 0; *own && i < sizeof applied_later / sizeof *applied_later; i++)
        (void)json_object_del(*own, applied_later[i]);
    char *text = *own ? json_dumps(*own, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    const uint64_t seed = json_object_get(trace, "generate") ? seed_of(doc) : 0;
    if (!text || asprintf(key, "%s %llu", text, (unsigned long long)seed) < 0)
        *key = NULL;
    free(text);
    if (*key)
        return KVS_OK;
    json_decref(*own);
    *own = NULL;
    return kvs_nomem(err);
}

static struct shared *find(const struct kvs_traces *traces, const char *key)
{
    for (uint32_t i = 0; i < traces->n; i++)
        if (strcmp(traces->shared[i].key, key) == 0)
            return &traces->shared[i];
    return NULL;
}

static enum kvs_code add(struct kvs_traces *traces, const struct kvs_doc *doc, json_t *own,
                         char *key, struct kvs_err *err)
{
    if (traces->n == traces->room) {
        const uint32_t more = traces->room * 2 + 8;
        struct shared *grown = realloc(traces->shared, more * sizeof *grown);
        if (!grown)
            return kvs_nomem(err);
        traces->shared = grown;
        traces->room = more;
    }
    char *file = strdup(kvs_doc_file(doc));
    if (!file)
        return kvs_nomem(err);
    traces->shared[traces->n++] = (struct shared){
        .key = key, .own = own, .file = file, .seed = seed_of(doc), .n_use = 1, .fd = -1};
    return KVS_OK;
}

enum kvs_code kvs_traces_count(struct kvs_traces *traces, struct kvs_doc *doc, struct kvs_err *err)
{
    json_t *own;
    char *key;
    enum kvs_code code = key_of(doc, &own, &key, err);
    if (code || !key)
        return code;
    struct shared *known = find(traces, key);
    if (known)
        known->n_use++;
    else if (traces->n == MAX_SHARED)
        known = NULL;
    else if (!(code = add(traces, doc, own, key, err)))
        return KVS_OK;
    json_decref(own);
    free(key);
    return code;
}

/* --- reading -----------------------------------------------------------------------------------
 */

/* The trace as its document names it; wrong settings fail as they would at a point. */
static enum kvs_code open_own(const struct shared *shared, struct kvs_trace **trace,
                              struct kvs_err *err)
{
    struct kvs_doc *doc = NULL;
    char *text = json_dumps(shared->own, JSON_COMPACT);
    enum kvs_code code =
        text ? kvs_doc_parse(shared->file, text, strlen(text), &doc, err) : kvs_nomem(err);
    *trace = NULL;
    if (!code)
        code = kvs_trace_from_json(kvs_doc_root(doc), shared->seed, trace, err);
    free(text);
    kvs_doc_free(doc);
    return code;
}

static enum kvs_code hash_file(struct shared *shared, struct kvs_err *err)
{
    struct stat about;
    if (fstat(shared->fd, &about) || about.st_size == 0)
        return kvs_fail(err, KVS_ERR_IO, "shared trace: %s", strerror(errno));
    void *data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, shared->fd, 0);
    if (data == MAP_FAILED)
        return kvs_fail(err, KVS_ERR_IO, "shared trace: %s", strerror(errno));
    shared->hash = XXH3_64bits(data, (size_t)about.st_size);
    munmap(data, (size_t)about.st_size);
    return KVS_OK;
}

/* Leaves the file open and nameless: it goes with the last process that holds it. */
static enum kvs_code convert(struct shared *shared, const char *folder, struct kvs_trace *trace,
                             struct kvs_err *err)
{
    char *path = NULL;
    enum kvs_code code;
    if (asprintf(&path, "%s/trace.kvt", folder) < 0)
        return kvs_nomem(err);
    if (!(code = kvs_trace_copy(trace, path, "kvt", NULL, NULL, err))) {
        shared->fd = open(path, O_RDONLY); /* inherited by workers */
        code = shared->fd < 0 ? kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno))
                              : hash_file(shared, err);
        (void)unlink(path);
    }
    free(path);
    return code;
}

enum kvs_code kvs_traces_load(struct kvs_traces *traces, struct kvs_err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *folder = NULL;
    enum kvs_code code = KVS_OK;
    if (asprintf(&folder, "%s/kvsim-study-XXXXXX", tmp && *tmp ? tmp : "/tmp") < 0)
        return kvs_nomem(err);
    if (!mkdtemp(folder)) {
        code = kvs_fail(err, KVS_ERR_IO, "%s: %s", folder, strerror(errno));
        free(folder);
        return code;
    }
    for (uint32_t i = 0; i < traces->n && !code; i++) {
        struct kvs_trace *trace;
        if (traces->shared[i].n_use < 2 || traces->shared[i].fd >= 0)
            continue;
        if (!open_own(&traces->shared[i], &trace, NULL)) {
            struct kvs_err inner = {0};
            code = convert(&traces->shared[i], folder, trace, &inner);
            if (code == KVS_ERR_PARSE || code == KVS_ERR_RANGE)
                code = KVS_OK; /* the trace's fault: each point tells it */
            else if (code)
                kvs_fail(err, code, "%s", inner.msg);
        }
        kvs_trace_close(trace);
    }
    (void)rmdir(folder);
    free(folder);
    return code;
}

enum kvs_code kvs_traces_use(const struct kvs_traces *traces, struct kvs_doc *doc,
                             struct kvs_err *err)
{
    json_t *own, *root = (json_t *)kvs_doc_root(doc).v;
    char *key, path[40];
    enum kvs_code code = key_of(doc, &own, &key, err);
    if (code || !key)
        return code;
    const struct shared *shared = find(traces, key);
    if (shared && shared->fd >= 0) {
        const json_t *old = json_object_get(root, "trace");
        snprintf(path, sizeof path, "/proc/self/fd/%d", shared->fd);
        json_t *trace = json_pack("{s:s, s:s}", "path", path, "format", "kvt");
        bool bad = !trace;
        for (size_t i = 0; !bad && i < sizeof applied_later / sizeof *applied_later; i++) {
            json_t *kept = json_object_get(old, applied_later[i]);
            bad = kept && json_object_set(trace, applied_later[i], kept);
        }
        if (bad)
            json_decref(trace);
        if (bad || json_object_set_new(root, "trace", trace))
            code = kvs_nomem(err);
    }
    json_decref(own);
    free(key);
    return code;
}

uint64_t kvs_traces_hash(const struct kvs_traces *traces)
{
    uint64_t hash = traces->n;
    for (uint32_t i = 0; i < traces->n; i++)
        hash = XXH3_64bits_withSeed(&traces->shared[i].hash, sizeof hash, hash);
    return hash;
}
