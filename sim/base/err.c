#include "err.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What came from a file is shown on a terminal: no control bytes, no torn UTF-8 at the cut. */
static void make_printable(char *msg, size_t room, int n_wanted)
{
    for (char *c = msg; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = *c == '\n' || *c == '\t' ? ' ' : '?';
    if (n_wanted < 0 || (size_t)n_wanted < room)
        return;
    size_t cut = room - 1 - strlen("...");
    while (cut > 0 && ((unsigned char)msg[cut] & 0xc0) == 0x80)
        cut--;
    memcpy(msg + cut, "...", sizeof "...");
}

enum kvs_code kvs_fail(struct kvs_err *err, enum kvs_code code, const char *fmt, ...)
{
    if (err && err->code == KVS_OK) {
        va_list args;
        va_start(args, fmt);
        int n = vsnprintf(err->msg, sizeof err->msg, fmt, args);
        va_end(args);
        make_printable(err->msg, sizeof err->msg, n);
        err->code = code;
    }
    return code;
}

enum kvs_code kvs_nomem(struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_NOMEM, "not enough memory");
}

enum kvs_code kvs_errno_code(int error)
{
    return error == ENOENT || error == EISDIR || error == ENOTDIR ? KVS_ERR_ARG : KVS_ERR_IO;
}

int kvs_exit_status(enum kvs_code code)
{
    switch (code) {
    case KVS_OK:
        return 0;
    case KVS_ERR_ARG:
    case KVS_ERR_PARSE:
    case KVS_ERR_RANGE:
        return 2;
    case KVS_ERR_ABSENT:
        return 3;
    case KVS_ERR_NOMEM:
    case KVS_ERR_IO:
    case KVS_ERR_DEVICE:
    case KVS_ERR_CHECK:
        break;
    }
    return 1;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

#define WORD_MAX 63u /* no name of ours is longer */

/* Optimal string alignment: insert, delete, replace and swap of neighbours count one each. */
static unsigned edit_distance(const char *a, unsigned n_a, const char *b, unsigned n_b)
{
    unsigned row[3][WORD_MAX + 1]; /* rows i - 2, i - 1 and i of the table, taken in turn */
    for (unsigned j = 0; j <= n_b; j++)
        row[0][j] = j;
    for (unsigned i = 1; i <= n_a; i++) {
        unsigned *cur = row[i % 3];
        const unsigned *prev = row[(i + 2) % 3], *prev2 = row[(i + 1) % 3];
        cur[0] = i;
        for (unsigned j = 1; j <= n_b; j++) {
            bool same = same_letter(a[i - 1], b[j - 1]);
            cur[j] = min3(prev[j] + 1, cur[j - 1] + 1, prev[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                same_letter(a[i - 2], b[j - 1]) && prev2[j - 2] + 1 < cur[j])
                cur[j] = prev2[j - 2] + 1;
        }
    }
    return row[n_a % 3][n_b];
}

const char *kvs_nearest(const char *word, const char *const *names, unsigned n)
{
    size_t n_word = strlen(word);
    const char *best = NULL;
    unsigned best_distance = UINT_MAX;
    if (n_word > WORD_MAX)
        return NULL;
    for (unsigned i = 0; i < n; i++) {
        size_t n_name = strlen(names[i]);
        if (n_name > WORD_MAX)
            continue;
        unsigned longer = (unsigned)(n_name > n_word ? n_name : n_word);
        unsigned distance = edit_distance(word, (unsigned)n_word, names[i], (unsigned)n_name);
        if (distance <= (longer + 2) / 3 && distance < longer && distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    return best;
}

/* snprintf at *at, which moves on; stays at the end once buf is full. */
static void append(char *buf, size_t room, size_t *at, const char *a, const char *b)
{
    int n = snprintf(buf + *at, room - *at, "%s%s", a, b);
    *at = n < 0 || (size_t)n >= room - *at ? room - 1 : *at + (size_t)n;
}

char *kvs_known(char *buf, size_t room, const char *word, const char *const *names, unsigned n)
{
    const char *near = kvs_nearest(word, names, n);
    size_t at = 0;
    buf[0] = '\0';
    append(buf, room, &at, "; ", "");
    if (near) {
        append(buf, room, &at, "did you mean \"", near);
        append(buf, room, &at, "\"? ", "");
    }
    append(buf, room, &at, "known: ", n ? names[0] : "none");
    for (unsigned i = 1; i < n; i++)
        append(buf, room, &at, ", ", names[i]);
    return buf;
}
