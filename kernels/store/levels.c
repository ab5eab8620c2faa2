/* levels.c - levels and prompts as text. */
#include "levels.h"

#include "base/lines.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* --- levels ------------------------------------------------------------------------------------
 */

static enum kvs_code one_level(const char *what, const char *text, size_t n, enum kvs_level *level,
                               struct kvs_err *err)
{
    char name[16], known[300];

    snprintf(name, sizeof name, "%.*s", n < sizeof name ? (int)n : (int)sizeof name - 1, text);
    if (kvs_level_find(name, level))
        return KVS_OK;
    return kvs_fail(err, KVS_ERR_ARG, "%s: unknown level \"%s\"%s", what, name,
                    kvs_known(known, sizeof known, name, kvs_level_names, KVS_N_LEVEL));
}

enum kvs_code kvs_levels_parse(const char *what, const char *text, uint32_t n_layer, uint8_t *level,
                               struct kvs_err *err)
{
    bool single = !strpbrk(text, ",*");
    uint64_t n = 0;

    for (const char *at = text;; at++) {
        size_t n_text = strcspn(at, ","), n_levels = strcspn(at, ",*"), n_k = strcspn(at, ",*/");
        enum kvs_level k, v;
        uint64_t times = single ? n_layer : 1;
        enum kvs_code code = one_level(what, at, n_k, &k, err);
        v = k;
        if (!code && n_k < n_levels)
            code = one_level(what, at + n_k + 1, n_levels - n_k - 1, &v, err);
        if (code)
            return code;
        if (n_levels < n_text) {
            char *end;
            times =
                isdigit((unsigned char)at[n_levels + 1]) ? strtoul(at + n_levels + 1, &end, 10) : 0;
            if (times == 0 || end != at + n_text)
                return kvs_fail(
                    err, KVS_ERR_ARG,
                    "%s: found \"%.*s\", want LEVEL*N or K/V*N with N layers, 1 or more", what,
                    (int)n_text, at);
        }
        for (uint64_t i = 0; i < times && n + i < n_layer; i++) {
            level[(n + i) * 2] = (uint8_t)k;
            level[(n + i) * 2 + 1] = (uint8_t)v;
        }
        n += times < UINT32_MAX ? times : UINT32_MAX;
        at += n_text;
        if (!*at)
            break;
    }
    if (n != n_layer)
        return kvs_fail(err, KVS_ERR_ARG, "%s: \"%s\" names %llu layers, the model has %u", what,
                        text, (unsigned long long)n, n_layer);
    return KVS_OK;
}

void kvs_levels_print(FILE *to, const uint8_t *level, uint32_t n_layer)
{
    for (uint32_t l = 0, n; l < n_layer; l += n) {
        const uint8_t k = level[l * 2], v = level[l * 2 + 1];
        for (n = 1; l + n < n_layer && level[(l + n) * 2] == k && level[(l + n) * 2 + 1] == v;)
            n++;
        fprintf(to, "%s%s", l ? "," : "", kvs_level_names[k]);
        if (v != k)
            fprintf(to, "/%s", kvs_level_names[v]);
        if (n < n_layer && n > 1)
            fprintf(to, "*%u", n);
    }
}

/* --- prompts -----------------------------------------------------------------------------------
 */

static enum kvs_code add_token(struct kvs_prompts *p, uint32_t tok, size_t *n_tok, size_t *room,
                               struct kvs_err *err)
{
    if (*n_tok == *room) {
        size_t more = *room ? *room * 2 : 1024;
        uint32_t *grown = realloc(p->tok, more * sizeof *grown);
        if (!grown)
            return kvs_nomem(err);
        p->tok = grown;
        *room = more;
    }
    p->tok[(*n_tok)++] = tok;
    return KVS_OK;
}

static enum kvs_code end_prompt(struct kvs_prompts *p, uint32_t line, size_t n_tok,
                                struct kvs_err *err)
{
    size_t n = n_tok - (p->n ? p->first[p->n] : 0);

    if (n == 0)
        return KVS_OK;
    size_t *first = realloc(p->first, (p->n + 2ul) * sizeof *first);
    p->first = first ? first : p->first;
    uint32_t *lines = first ? realloc(p->line, (p->n + 1ul) * sizeof *lines) : NULL;
    p->line = lines ? lines : p->line;
    if (!lines)
        return kvs_nomem(err);
    if (n > 1u << 24 || p->n == UINT32_MAX - 2)
        return kvs_fail(err, KVS_ERR_RANGE, "%u tokens and more in a prompt", 1u << 24);
    p->first[0] = 0;
    p->line[p->n] = line;
    p->first[++p->n] = n_tok;
    p->most_tok = (uint32_t)n > p->most_tok ? (uint32_t)n : p->most_tok;
    return KVS_OK;
}

static enum kvs_code read_line(const struct kvs_lines *lines, const char *text,
                               struct kvs_prompts *p, size_t *n_tok, size_t *room,
                               struct kvs_err *err)
{
    const char *const between = " \t\r\n,";
    enum kvs_code code = KVS_OK;

    for (const char *at = text; !code;) {
        char *end = NULL;
        at += strspn(at, between);
        if (!*at || *at == '#')
            break;
        errno = 0;
        unsigned long tok = isdigit((unsigned char)*at) ? strtoul(at, &end, 10) : ULONG_MAX;
        if (tok > INT32_MAX || errno || (*end && *end != '#' && !strchr(between, *end)))
            return kvs_lines_fail(lines, err, KVS_ERR_PARSE,
                                  "found \"%.32s\", want a token's number", at);
        code = add_token(p, (uint32_t)tok, n_tok, room, err);
        at = end;
    }
    return code ? code : end_prompt(p, (uint32_t)kvs_lines_number(lines), *n_tok, err);
}

enum kvs_code kvs_prompts_read(const char *file, struct kvs_prompts *prompts, struct kvs_err *err)
{
    struct kvs_lines *lines;
    size_t n_tok = 0, room = 0, n_text;
    char *text;

    *prompts = (struct kvs_prompts){0};
    enum kvs_code code = kvs_lines_open(file, &lines, err);
    while (!code && !(code = kvs_lines_next(lines, &text, &n_text, err)) && text)
        code = read_line(lines, text, prompts, &n_tok, &room, err);
    if (!code && prompts->n == 0)
        code = kvs_fail(err, KVS_ERR_PARSE,
                        "%s: holds no prompt: want token numbers, a prompt a line", file);
    kvs_lines_close(lines);
    if (code)
        kvs_prompts_free(prompts);
    return code;
}

void kvs_prompts_free(struct kvs_prompts *prompts)
{
    free(prompts->line);
    free(prompts->first);
    free(prompts->tok);
    *prompts = (struct kvs_prompts){0};
}
