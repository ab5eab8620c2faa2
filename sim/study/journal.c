#include "journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC "kvsim-sweep 1"
#define MAX_POINT UINT64_C(100000000)
#define SYNC_NS INT64_C(500000000)

/* Where a point's record stands in the file; n_byte 0: it is not there. */
struct place {
    int64_t at;
    uint32_t n_byte;
};

struct kvs_journal {
    char *path, *header;
    int fd;
    uint64_t fingerprint, n_point;
    struct place *place; /* [n_point] */
    int64_t end, synced_ns;
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static enum kvs_code io(const struct kvs_journal *journal, struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_IO, "%s: %s", journal->path, strerror(errno));
}

static enum kvs_code foreign(const struct kvs_journal *journal, struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_PARSE, "%s: is no journal of a kvsim sweep", journal->path);
}

/* --- records -----------------------------------------------------------------------------------
 */

/* "CHECKSUM TAB " takes 17 characters. */
#define SUM_CHARS 17

/* The point of a record without its line end. false: it is no record. */
static bool record_point(const char *line, size_t n, uint64_t *point)
{
    char sum[SUM_CHARS + 1], *end;
    if (n <= SUM_CHARS + 1)
        return false;
    snprintf(sum, sizeof sum, "%016" PRIx64 "\t",
             (uint64_t)XXH3_64bits(line + SUM_CHARS, n - SUM_CHARS));
    if (memcmp(sum, line, SUM_CHARS) != 0)
        return false;
    *point = strtoull(line + SUM_CHARS, &end, 10);
    return *end == '\t';
}

/* Places of all whole records, up to the first that is none. */
static enum kvs_code scan(struct kvs_journal *journal, FILE *from, struct kvs_err *err)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    enum kvs_code code = KVS_OK;
    while ((n = getline(&line, &room, from)) > 0) {
        uint64_t point;
        if (line[n - 1] != '\n')
            break;
        line[n - 1] = '\0';
        if (!record_point(line, (size_t)n - 1, &point) || n > INT32_MAX)
            break;
        if (point >= journal->n_point || journal->place[point].n_byte) {
            code = foreign(journal, err);
            break;
        }
        journal->place[point] = (struct place){journal->end, (uint32_t)n - 1};
        journal->end += n;
    }
    free(line);
    return !code && ferror(from) ? io(journal, err) : code;
}

static enum kvs_code new_places(struct kvs_journal *journal, struct kvs_err *err)
{
    journal->place = calloc(journal->n_point ? journal->n_point : 1, sizeof *journal->place);
    return journal->place ? KVS_OK : kvs_nomem(err);
}

/* The first two lines, of a journal that has them. */
static enum kvs_code read_head(struct kvs_journal *journal, FILE *from, struct kvs_err *err)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n = getline(&line, &room, from), n_header = 0;
    const bool head = n > 0 && line[n - 1] == '\n' &&
                      sscanf(line, MAGIC " %" SCNx64 " %" SCNu64, &journal->fingerprint,
                             &journal->n_point) == 2 &&
                      journal->n_point <= MAX_POINT;
    enum kvs_code code = KVS_OK;
    if (head) {
        journal->end = n;
        n_header = getline(&line, &room, from);
        journal->end += n_header;
    }
    if (!head || n_header <= 1 || line[n_header - 1] != '\n') {
        code = foreign(journal, err);
    } else {
        line[n_header - 1] = '\0';
        journal->header = strdup(line);
        code = journal->header ? new_places(journal, err) : kvs_nomem(err);
    }
    free(line);
    return code;
}

static enum kvs_code read_file(struct kvs_journal *journal, struct kvs_err *err)
{
    const int fd = dup(journal->fd);
    FILE *from = fd < 0 ? NULL : fdopen(fd, "r");
    if (!from) {
        if (fd >= 0)
            close(fd);
        return io(journal, err);
    }
    rewind(from);
    enum kvs_code code = read_head(journal, from, err);
    if (!code)
        code = scan(journal, from, err);
    fclose(from);
    return code;
}

static enum kvs_code put(struct kvs_journal *journal, const char *text, size_t n,
                         struct kvs_err *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t wrote = pwrite(journal->fd, text + done, n - done, journal->end + (int64_t)done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return io(journal, err);
        done += (size_t)wrote;
    }
    journal->end += (int64_t)n;
    return KVS_OK;
}

static enum kvs_code begin(struct kvs_journal *journal, const struct kvs_journal_id *id,
                           struct kvs_err *err)
{
    char *head = NULL;
    journal->fingerprint = id->fingerprint;
    journal->n_point = id->n_point;
    journal->header = strdup(id->header);
    if (!journal->header || new_places(journal, err))
        return kvs_nomem(err);
    if (asprintf(&head, MAGIC " %016" PRIx64 " %" PRIu64 "\n%s\n", id->fingerprint, id->n_point,
                 id->header) < 0)
        return kvs_nomem(err);
    enum kvs_code code = put(journal, head, strlen(head), err);
    free(head);
    return code ? code : kvs_journal_sync(journal, err);
}

static enum kvs_code go_on(struct kvs_journal *journal, const struct kvs_journal_id *id,
                           struct kvs_err *err)
{
    enum kvs_code code = read_file(journal, err);
    if (code)
        return code;
    if (journal->fingerprint != id->fingerprint || journal->n_point != id->n_point ||
        !journal->header || strcmp(journal->header, id->header) != 0)
        return kvs_fail(err, KVS_ERR_ARG,
                        "%s: holds points of another sweep (or of one whose trace, machine or "
                        "kvsim has changed); want another folder, or --overwrite",
                        journal->path);
    return ftruncate(journal->fd, journal->end) ? io(journal, err) : KVS_OK; /* a torn end */
}

static enum kvs_code new_journal(const char *path, int flags, struct kvs_journal **out,
                                 struct kvs_err *err)
{
    struct kvs_journal *journal = calloc(1, sizeof *journal);
    *out = journal;
    if (!journal)
        return kvs_nomem(err);
    journal->fd = -1;
    journal->path = strdup(path);
    if (!journal->path)
        return kvs_nomem(err);
    journal->fd = open(path, flags | O_CLOEXEC, 0666);
    return journal->fd < 0 ? io(journal, err) : KVS_OK;
}

/* The workers of a sweep that was killed hold its lock until they have died too: a moment. */
static bool lock_soon(int fd)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

    for (int i = 0; i < 50; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

enum kvs_code kvs_journal_open(const char *path, const struct kvs_journal_id *id,
                               struct kvs_journal **out, struct kvs_err *err)
{
    struct kvs_journal *journal;
    enum kvs_code code = new_journal(path, O_RDWR | O_CREAT, &journal, err);
    *out = NULL;
    if (!code && !lock_soon(journal->fd))
        code = kvs_fail(err, KVS_ERR_ARG, "%s: another kvsim sweep is writing it", path);
    if (!code) { /* a head that was torn is as good as none */
        char head[4096];
        const ssize_t n = pread(journal->fd, head, sizeof head, 0);
        const char *line = n > 0 ? memchr(head, '\n', (size_t)n) : NULL;
        if (n < 0)
            code = io(journal, err);
        else if (line &&
                 (n == sizeof head || memchr(line + 1, '\n', (size_t)(head + n - line) - 1)))
            code = go_on(journal, id, err);
        else if (n >= (ssize_t)strlen(MAGIC) && memcmp(head, MAGIC, strlen(MAGIC)) != 0)
            code = foreign(journal, err);
        else
            code = begin(journal, id, err);
    }
    if (code) {
        kvs_journal_close(journal);
        return code;
    }
    *out = journal;
    return KVS_OK;
}

enum kvs_code kvs_journal_read(const char *path, struct kvs_journal **out, struct kvs_err *err)
{
    struct kvs_journal *journal;
    enum kvs_code code = new_journal(path, O_RDONLY, &journal, err);
    *out = NULL;
    if (!code)
        code = read_file(journal, err);
    if (code) {
        kvs_journal_close(journal);
        return code;
    }
    *out = journal;
    return KVS_OK;
}

void kvs_journal_close(struct kvs_journal *journal)
{
    if (!journal)
        return;
    if (journal->fd >= 0)
        close(journal->fd);
    free(journal->path);
    free(journal->header);
    free(journal->place);
    free(journal);
}

struct kvs_journal_id kvs_journal_id(const struct kvs_journal *journal)
{
    return (struct kvs_journal_id){journal->fingerprint, journal->n_point, journal->header};
}

bool kvs_journal_has(const struct kvs_journal *journal, uint64_t point)
{
    assert(point < journal->n_point);
    return journal->place[point].n_byte;
}

enum kvs_code kvs_journal_get(const struct kvs_journal *journal, uint64_t point, char **rows,
                              struct kvs_err *err)
{
    assert(kvs_journal_has(journal, point));
    const struct place place = journal->place[point];
    char *line = malloc(place.n_byte + 1);
    *rows = NULL;
    if (!line)
        return kvs_nomem(err);
    ssize_t n = pread(journal->fd, line, place.n_byte, place.at);
    uint64_t found = 0;
    line[n < 0 ? 0 : n] = '\0';
    if (n != (ssize_t)place.n_byte || !record_point(line, place.n_byte, &found) || found != point) {
        free(line);
        return kvs_fail(err, KVS_ERR_IO, "%s: changed while it was read", journal->path);
    }
    const char *from = strchr(line + SUM_CHARS, '\t') + 1;
    memmove(line, from, strlen(from) + 1);
    *rows = line;
    return KVS_OK;
}

enum kvs_code kvs_journal_add(struct kvs_journal *journal, uint64_t point, const char *rows,
                              struct kvs_err *err)
{
    char *body = NULL, *line = NULL;
    int n = -1;
    assert(!kvs_journal_has(journal, point) && !strchr(rows, '\n'));
    if (asprintf(&body, "%" PRIu64 "\t%s", point, rows) >= 0)
        n = asprintf(&line, "%016" PRIx64 "\t%s\n", (uint64_t)XXH3_64bits(body, strlen(body)),
                     body);
    else
        body = NULL;
    if (n < 0)
        line = NULL;
    const struct place place = {journal->end, (uint32_t)n - 1};
    enum kvs_code code = line ? put(journal, line, (size_t)n, err) : kvs_nomem(err);
    if (!code) {
        journal->place[point] = place;
        if (now_ns() - journal->synced_ns > SYNC_NS)
            code = kvs_journal_sync(journal, err);
    }
    free(body);
    free(line);
    return code;
}

enum kvs_code kvs_journal_sync(struct kvs_journal *journal, struct kvs_err *err)
{
    if (fsync(journal->fd))
        return io(journal, err);
    journal->synced_ns = now_ns();
    return KVS_OK;
}
