#include "results.h"

#include "base/outfile.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENDING ".journal"
#define MAX_JOURNAL 4096

static enum kvs_code io(const char *path, struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
}

/* mkdir -p */
static enum kvs_code make_folder(const char *dir, struct kvs_err *err)
{
    char *path = strdup(dir);
    enum kvs_code code = path ? KVS_OK : kvs_nomem(err);
    for (char *at = path; !code && at && *at;) {
        at = strchr(at + 1, '/');
        if (at)
            *at = '\0';
        if (mkdir(path, 0777) && errno != EEXIST)
            code = io(path, err);
        if (at)
            *at = '/';
    }
    free(path);
    return code;
}

static bool is_journal(const char *name)
{
    const size_t n = strlen(name), n_ending = strlen(ENDING);
    return strncmp(name, "points", 6) == 0 && n > n_ending &&
           strcmp(name + n - n_ending, ENDING) == 0;
}

static int only_journals(const struct dirent *entry)
{
    return is_journal(entry->d_name);
}

static int all_but_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Names in a folder that a filter takes, sorted; their number, or -1 (errno). */
static int list(const char *dir, int (*filter)(const struct dirent *), struct dirent ***names)
{
    *names = NULL;
    return scandir(dir, names, filter, alphasort);
}

static void free_names(struct dirent **names, int n)
{
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

/* Results of someone else are never mixed with ours. */
static enum kvs_code check_ours(const char *dir, struct kvs_err *err)
{
    struct dirent **names;
    const int n = list(dir, all_but_dots, &names);
    bool ours = n == 0;
    if (n < 0)
        return io(dir, err);
    for (int i = 0; i < n; i++)
        ours |= is_journal(names[i]->d_name);
    free_names(names, n);
    return ours ? KVS_OK
                : kvs_fail(err, KVS_ERR_ARG, "%s: holds files but no sweep; want another folder",
                           dir);
}

enum kvs_code kvs_results_folder(const char *dir, uint64_t shard_i, uint64_t shard_n,
                                 bool overwrite, char **path, struct kvs_err *err)
{
    char *results = NULL;
    int n = 0;
    enum kvs_code code = make_folder(dir, err);
    *path = NULL;
    if (code || (code = check_ours(dir, err)))
        return code;
    if (shard_n == 1)
        n = asprintf(path, "%s/points" ENDING, dir);
    else
        n = asprintf(path, "%s/points-%" PRIu64 "-of-%" PRIu64 ENDING, dir, shard_i + 1, shard_n);
    if (n < 0) {
        *path = NULL;
        return kvs_nomem(err);
    }
    if (!overwrite)
        return KVS_OK;
    if (unlink(*path) && errno != ENOENT)
        code = io(*path, err);
    if (asprintf(&results, "%s/results.csv", dir) < 0)
        return kvs_nomem(err);
    if (!code && unlink(results) && errno != ENOENT)
        code = io(results, err);
    free(results);
    return code;
}

/* --- reading -----------------------------------------------------------------------------------
 */

static enum kvs_code check_same(const struct kvs_journal *first, const struct kvs_journal *other,
                                const char *path, struct kvs_err *err)
{
    const struct kvs_journal_id a = kvs_journal_id(first), b = kvs_journal_id(other);
    if (a.fingerprint == b.fingerprint && a.n_point == b.n_point && strcmp(a.header, b.header) == 0)
        return KVS_OK;
    return kvs_fail(err, KVS_ERR_ARG, "%s: is of another sweep than the journals before it", path);
}

static enum kvs_code open_all(const char *dir, struct kvs_journal ***journal, uint32_t *n,
                              struct kvs_err *err)
{
    struct dirent **names;
    const int n_name = list(dir, only_journals, &names);
    enum kvs_code code = KVS_OK;
    if (n_name < 0)
        return kvs_fail(err, KVS_ERR_ARG, "%s: %s", dir, strerror(errno));
    if (n_name == 0)
        code = kvs_fail(err, KVS_ERR_ARG, "%s: holds no journal of a sweep", dir);
    for (int i = 0; i < n_name && !code; i++) {
        char *path = NULL;
        if (*n == MAX_JOURNAL)
            code = kvs_fail(err, KVS_ERR_RANGE, "%s: more than %d journals", dir, MAX_JOURNAL);
        else if (asprintf(&path, "%s/%s", dir, names[i]->d_name) < 0)
            code = kvs_nomem(err);
        else if (!(code = kvs_journal_read(path, &(*journal)[*n], err)) && (*n)++ > 0)
            code = check_same((*journal)[0], (*journal)[*n - 1], path, err);
        free(path);
    }
    free_names(names, n_name);
    return code;
}

enum kvs_code kvs_results_journals(const struct kvs_strs *dirs, struct kvs_journal ***journal,
                                   uint32_t *n, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    *n = 0;
    *journal = calloc(MAX_JOURNAL, sizeof(void *));
    if (!*journal)
        return kvs_nomem(err);
    for (unsigned i = 0; i < dirs->n && !code; i++)
        code = open_all(dirs->v[i], journal, n, err);
    return code;
}

/* --- the table ---------------------------------------------------------------------------------
 */

static enum kvs_code rows_of(struct kvs_journal *const *journal, uint32_t n, uint64_t point,
                             char **rows, struct kvs_err *err)
{
    *rows = NULL;
    for (uint32_t i = 0; i < n; i++) {
        char *more;
        enum kvs_code code;
        if (!kvs_journal_has(journal[i], point))
            continue;
        if ((code = kvs_journal_get(journal[i], point, &more, err)))
            return code;
        const bool same = !*rows || strcmp(*rows, more) == 0;
        free(*rows);
        *rows = more;
        if (!same)
            return kvs_fail(err, KVS_ERR_CHECK, "point %" PRIu64 " differs between two journals",
                            point);
    }
    return KVS_OK;
}

static enum kvs_code check_all(struct kvs_journal *const *journal, uint32_t n, struct kvs_err *err)
{
    const uint64_t n_point = kvs_journal_id(journal[0]).n_point;
    uint64_t n_missing = 0, first = 0;
    for (uint64_t point = 0; point < n_point; point++) {
        bool there = false;
        for (uint32_t i = 0; i < n && !there; i++)
            there = kvs_journal_has(journal[i], point);
        if (!there && n_missing++ == 0)
            first = point;
    }
    if (n_missing == 0)
        return KVS_OK;
    return kvs_fail(err, KVS_ERR_ARG,
                    "%" PRIu64 " of %" PRIu64 " points are missing, the first is %" PRIu64
                    "; let each shard come to its end first",
                    n_missing, n_point, first);
}

static enum kvs_code write_rows(FILE *to, struct kvs_journal *const *journal, uint32_t n,
                                struct kvs_err *err)
{
    const struct kvs_journal_id id = kvs_journal_id(journal[0]);
    enum kvs_code code = KVS_OK;
    fprintf(to, "%s\n", id.header);
    for (uint64_t point = 0; point < id.n_point && !code; point++) {
        char *rows = NULL;
        if (!(code = rows_of(journal, n, point, &rows, err))) {
            assert(rows); /* check_all saw every point */
            for (char *at = rows; (at = strchr(at, '\t')); at++)
                *at = '\n';
            fprintf(to, "%s\n", rows);
        }
        free(rows);
    }
    return code;
}

enum kvs_code kvs_results_write(const char *dir, struct kvs_journal *const *journal, uint32_t n,
                                struct kvs_err *err)
{
    struct kvs_outfile *out = NULL;
    char *path = NULL;
    enum kvs_code code = check_all(journal, n, err);
    if (code || (code = make_folder(dir, err)))
        return code;
    if (asprintf(&path, "%s/results.csv", dir) < 0)
        return kvs_nomem(err);
    if (!(code = kvs_outfile_begin(path, &out, err)) &&
        !(code = write_rows(kvs_outfile_stream(out), journal, n, err)))
        code = kvs_outfile_commit(out, err);
    else
        kvs_outfile_abort(out);
    free(path);
    return code;
}
