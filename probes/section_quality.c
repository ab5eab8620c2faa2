/* The section that scores levels: kvprobe quality. */
#include "damage.h"
#include "profile.h"
#include "section.h"

#include "cmd.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N(table) ((uint32_t)(sizeof(table) / sizeof *(table)))
#define SINK_TOK 4
#define BLOCK_TOK 256
#define N_PASSAGE 4 /* that moved text is made of */

/* From fine to coarse, as codecs list them; the last of each row are scored in every layer. */
static const enum kvs_level all[] = {KVS_P8, KVS_E6, KVS_E5,   KVS_P4, KVS_E4,  KVS_P3,
                                     KVS_E3, KVS_P2, KVS_E2_5, KVS_E2, KVS_E1_5};

struct quality_grid {
    uint32_t context_tok, window_tok;
    uint32_t n_text;  /* that score levels with all parts at once */
    uint32_t n_alone; /* of them, the first: parts alone too */
    uint32_t n_share; /* each of those scores every n_share-th part */
    bool alone[KVS_N_LEVEL];
};

static const struct quality_grid grids[] = {
    {48, 16, 1, 1, 1, {[KVS_E3] = true}},
    {256, 128, 24, 24, 6, {[KVS_P8] = true, [KVS_E3] = true, [KVS_E1_5] = true}},
    {256, 128, 128, 128, 4, {[KVS_P8] = true, [KVS_E3] = true, [KVS_E1_5] = true}},
};

/* --- texts ----------------------------------------------------------------------------------- */

/* Text i of a file: a line of token numbers, '#' begins a comment line. */
static enum kvs_code read_text(const char *path, uint32_t text_i, uint32_t n_vocab, uint32_t *tok,
                               uint32_t n_tok, struct kvs_err *err)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    unsigned long line_n = 0;
    uint32_t n_seen = 0, n = 0;
    enum kvs_code code = KVS_OK;
    if (!file)
        return kvs_fail(err, kvs_errno_code(errno), "%s: %s", path, strerror(errno));
    while (n_seen <= text_i && getline(&line, &room, file) > 0) {
        line_n++;
        n_seen += line[0] != '#' && line[0] != '\n';
    }
    char *at = line, *end;
    if (n_seen <= text_i)
        code = kvs_fail(err, KVS_ERR_RANGE, "%s: %u texts, want %u", path, n_seen, text_i + 1);
    assert(code || at);
    for (; n < n_tok && !code; n++, at = end) {
        unsigned long t = strtoul(at, &end, 10);
        if (end == at)
            code = kvs_fail(err, KVS_ERR_RANGE, "%s:%lu: found %u tokens, want %u", path, line_n, n,
                            n_tok);
        else if (t >= n_vocab)
            code = kvs_fail(err, KVS_ERR_RANGE, "%s:%lu: token %lu, want below %u", path, line_n, t,
                            n_vocab);
        tok[n] = (uint32_t)t;
    }
    free(line);
    fclose(file);
    return code;
}

/* Of each passage computed again, where it moved. */
static const double repair[] = {0, 1. / 32, 1. / 16, 1. / 8, 1. / 4, 1. / 2};

struct scene {
    struct kvs_probe_run *run;
    const struct quality_grid *grid;
    struct kvs_lab *lab;
    struct kvs_damage *damage;
    uint32_t n_part, *tok;
    uint32_t n_done; /* texts */
    char *kept;      /* the file of scores so far; NULL: no output, none is kept */
};

static enum kvs_code take_text(struct scene *s, uint32_t text_i, struct kvs_err *err)
{
    const struct kvs_probe_options *opt = &s->run->opt;
    uint32_t n_tok = s->grid->context_tok + s->grid->window_tok;
    uint32_t n_vocab = kvs_weights_shape(s->run->subject.weights)->n_vocab;
    enum kvs_code code = opt->tokens
                             ? read_text(opt->tokens, text_i, n_vocab, s->tok, n_tok, err)
                             : kvs_lab_sample(s->lab, opt->seed + text_i, s->tok, n_tok, err);
    return code ? code : kvs_lab_read(s->lab, s->tok, NULL, err);
}

/* --- scores ---------------------------------------------------------------------------------- */

static enum kvs_code score_level(struct scene *s, uint32_t text_i, uint32_t i, struct kvs_err *err)
{
    uint8_t level[2 * 256];
    struct kvs_quality_score joint, score;
    double bits;
    memset(level, (int)all[i], s->n_part);
    enum kvs_code code = kvs_lab_encode(s->lab, level, true, &bits, err);
    if (!code && !(code = kvs_lab_score(s->lab, 0, s->n_part, &joint, err)))
        kvs_damage_joint(s->damage, i, &joint, bits);
    for (uint32_t p = text_i % s->grid->n_share; p < s->n_part && text_i < s->grid->n_alone &&
                                                 s->grid->alone[all[i]] && !code && !kvs_probe_stop;
         p += s->grid->n_share)
        if (!(code = kvs_lab_score(s->lab, p, 1, &score, err)))
            kvs_damage_part(s->damage, i, p, &score, &joint);
    return code;
}

/* The first passage stands where it was computed. */
static enum kvs_code score_moved(struct scene *s, struct kvs_err *err)
{
    const uint32_t passage_tok = s->grid->context_tok / N_PASSAGE;
    struct kvs_quality_score score;
    enum kvs_code code = kvs_lab_move(s->lab, passage_tok, err);
    for (uint32_t i = 0; i < N(repair) && !code && !kvs_probe_stop; i++) {
        uint32_t n_tok = (uint32_t)ceil(repair[i] * passage_tok);
        if (!(code = kvs_lab_score_moved(s->lab, passage_tok, n_tok, &score, err)))
            kvs_damage_repair(s->damage, i, 1 - 1. / N_PASSAGE, &score);
    }
    return code;
}

/* --- going on after a stop ------------------------------------------------------------------- */

/* What scores are of: those of something else are no beginning. */
static json_t *kept_of(const struct scene *s)
{
    const struct kvs_probe_options *opt = &s->run->opt;
    return json_pack("{ss ss ss sI si si si}", "model", s->run->subject.name, "tokens",
                     opt->tokens ? opt->tokens : "", "device", opt->device ? opt->device : "",
                     "seed", (json_int_t)opt->seed, "context_tok", (int)s->grid->context_tok,
                     "window_tok", (int)s->grid->window_tok, "n_text", (int)s->grid->n_text);
}

/* Beside the profile, here.json: here.scores.json, if one can begin there. */
static enum kvs_code take_up(struct scene *s, struct kvs_err *err)
{
    const char *out = s->run->opt.out;
    enum kvs_code code = KVS_OK;
    if (!out || strcmp(out, "-") == 0)
        return KVS_OK;
    size_t n = strlen(out), n_stem = n > 5 && strcmp(out + n - 5, ".json") == 0 ? n - 5 : n;
    if (asprintf(&s->kept, "%.*s.scores.json", (int)n_stem, out) < 0) {
        s->kept = NULL;
        return kvs_nomem(err);
    }
    json_t *json = json_load_file(s->kept, 0, NULL), *of = kept_of(s);
    if (json && json_equal(json_object_get(json, "of"), of)) {
        s->n_done = (uint32_t)json_integer_value(json_object_get(json, "done"));
        if (!kvs_damage_restore(s->damage, json_object_get(json, "scores")))
            code = kvs_fail(err, KVS_ERR_PARSE,
                            "%s: not the scores that an earlier run kept; remove it", s->kept);
    }
    json_decref(json);
    json_decref(of);
    return code;
}

static enum kvs_code keep(const struct scene *s, struct kvs_err *err)
{
    if (!s->kept)
        return KVS_OK;
    json_t *json = json_pack("{so si so}", "of", kept_of(s), "done", (int)s->n_done, "scores",
                             kvs_damage_state(s->damage));
    enum kvs_code code = json ? kvs_profile_write(json, s->kept, err) : kvs_nomem(err);
    json_decref(json);
    return code;
}

static enum kvs_code score_texts(struct scene *s, struct kvs_err *err)
{
    enum kvs_code code = take_up(s, err);
    for (uint32_t t = s->n_done; t < s->grid->n_text && !code && !kvs_probe_stop; t++) {
        if (s->run->tty)
            fprintf(stderr, "\r\033[Kquality: text %u of %u", t + 1, s->grid->n_text);
        code = take_text(s, t, err);
        for (uint32_t i = 0; i < N(all) && !code && !kvs_probe_stop; i++)
            code = score_level(s, t, i, err);
        if (!code && !kvs_probe_stop)
            code = score_moved(s, err);
        if (code || kvs_probe_stop)
            break; /* a text counts whole */
        s->n_done = t + 1;
        code = keep(s, err);
    }
    kvs_probe_end_progress(s->run);
    if (!code && s->kept && s->n_done == s->grid->n_text)
        (void)remove(s->kept);
    return code;
}

static enum kvs_code conclude(struct scene *s, struct kvs_err *err)
{
    char how[128];
    const char *why;
    snprintf(how, sizeof how,
             "%u+%u tokens, %u %s (%u for parts alone), weighted steps, blocks of %u, %u sinks, %d "
             "passages",
             s->grid->context_tok, s->grid->window_tok, s->damage->level[0].n_joint,
             s->run->opt.tokens ? "given texts" : "texts of its own", s->grid->n_alone, BLOCK_TOK,
             SINK_TOK, N_PASSAGE);
    json_t *json = kvs_damage_json(s->damage, s->run->subject.name, how, &why);
    if (!json && !why)
        return kvs_nomem(err);
    json_decref(s->run->quality);
    s->run->quality = json;
    return KVS_OK;
}

enum kvs_code kvs_probe_quality(struct kvs_probe_run *r, struct kvs_err *err)
{
    struct scene s = {.run = r, .grid = &grids[r->level]};
    struct kvs_err own = {KVS_OK, ""};
    enum kvs_code code = kvs_probe_subject(r, err);
    if (code)
        return code;
    if (!r->subject.real) {
        kvs_fail(&own, KVS_ERR_ABSENT,
                 "seeded weights say nothing of quality; want a --model file");
        return kvs_probe_absent(r, "quality.level", r->subject.name, KVS_ERR_ABSENT, &own, err);
    }
    struct kvs_quality_config config = {.backend = r->opt.device ? r->opt.device : "cpu",
                                        .weights = r->subject.weights,
                                        .context_tok = s.grid->context_tok,
                                        .window_tok = s.grid->window_tok,
                                        .block_tok = BLOCK_TOK,
                                        .n_sink = SINK_TOK};
    s.n_part = 2 * kvs_weights_shape(r->subject.weights)->n_layer;
    s.tok = calloc((size_t)config.context_tok + config.window_tok, sizeof *s.tok);
    if (!s.tok)
        return kvs_nomem(err);
    if (s.n_part > 2 * 256)
        code = kvs_fail(&own, KVS_ERR_RANGE, "%u layers; want at most 256", s.n_part / 2);
    else
        code = kvs_lab_open(&config, &s.lab, &own);
    if (code)
        code = kvs_probe_absent(r, "quality.level", r->subject.name, code, &own, err);
    else if (!(code = kvs_damage_new(s.n_part, all, N(all), repair, N(repair), &s.damage, err)) &&
             !(code = score_texts(&s, err)))
        code = conclude(&s, err);
    kvs_damage_free(s.damage);
    kvs_lab_close(s.lab);
    free(s.tok);
    free(s.kept);
    return code;
}
