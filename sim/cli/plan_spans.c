/*
 * plan_spans.c - `kvsim plan`: the prompt as a row of spans, the tiers that they lie on, and the
 * pieces of both that a plan problem is made of.
 */
#include "plan_case.h"

#include "base/units.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_TOK 16777216
#define MOST_BLOCKS 65536
#define MOST_NATS 1000

const char *const kvs_span_names[] = {"prefix", "content", "hbm", "new", NULL};
#define N_KIND 4

/* The route of a tier, which becomes one if it is none yet. */
static enum kvs_code add_route(struct kvs_plan_case *c, const char *option, const char *name,
                               int32_t *route, struct kvs_err *err)
{
    const struct kvs_hw_tier *tier = kvs_hw_tier(c->hw, name);
    const char *names[KVS_MAX_LINK];
    char known[400];

    for (uint32_t i = 0; i < c->hw->n_tier; i++)
        names[i] = c->hw->tier[i].name;
    if (!tier)
        return kvs_fail(err, KVS_ERR_ARG, "%s: %s has no tier \"%s\"%s", option, c->hw->name, name,
                        kvs_known(known, sizeof known, name, names, c->hw->n_tier));
    for (*route = 0; *route < (int32_t)c->n_route; ++*route)
        if (c->tier[*route] == tier)
            return KVS_OK;
    if (c->n_route == KVS_MAX_TIER_ROUTE)
        return kvs_fail(err, KVS_ERR_RANGE, "%s: more than %d tiers", option, KVS_MAX_TIER_ROUTE);
    c->tier[c->n_route++] = tier;
    return KVS_OK;
}

/* In the order in which the profile has them: which part lies where, and what a search meets first,
 * does not hang on how --tier was written. */
static void sort_tiers(struct kvs_plan_case *c)
{
    for (uint32_t i = 1; i < c->n_tier; i++)
        for (uint32_t j = i; j > 0 && c->tier[j] < c->tier[j - 1]; j--) {
            const struct kvs_hw_tier *tier = c->tier[j];

            c->tier[j] = c->tier[j - 1];
            c->tier[j - 1] = tier;
        }
}

/* The tiers of --tier. */
static enum kvs_code add_tiers(struct kvs_plan_case *c, struct kvs_err *err)
{
    const struct kvs_strs *names = &c->options.tiers;

    for (unsigned i = 0; i < names->n; i++) {
        int32_t route = 0;
        enum kvs_code code = add_route(c, "--tier", names->v[i], &route, err);

        if (code)
            return code;
        if (route < (int32_t)i)
            return kvs_fail(err, KVS_ERR_ARG,
                            "--tier: found \"%s\" a second time, want a tier once", names->v[i]);
    }
    c->n_tier = c->n_route;
    sort_tiers(c);
    return KVS_OK;
}

static bool is_stored(const struct kvs_span *span)
{
    return span->kind == KVS_SPAN_PREFIX || span->kind == KVS_SPAN_CONTENT;
}

#define N_NAME 64

/* A part behind its mark, up to the next one, into buf; false: there is none. */
static bool take_part(const char *text, char mark, char buf[N_NAME])
{
    const char *from = strchr(text, mark);

    snprintf(buf, N_NAME, "%.*s", from ? (int)strcspn(from + 1, "@=+") : 0, from ? from + 1 : "");
    return from != NULL;
}

/* What "=LEVEL" and "+NATS" say of a span. */
static enum kvs_code read_stored(const char *text, struct kvs_span *span, struct kvs_err *err)
{
    char level[N_NAME], loss[N_NAME], *slash;
    struct kvs_err own = {0};
    bool has_level = take_part(text, '=', level), has_loss = take_part(text, '+', loss);

    if ((has_level || has_loss) && !is_stored(span))
        return kvs_fail(err, KVS_ERR_ARG, "--spans: \"%s\": only what lies on a tier has a %s",
                        text, has_level ? "level" : "loss of its own");
    slash = strchr(level, '/');
    if (slash && strlen(slash + 1) == (size_t)(slash - level) &&
        strncmp(level, slash + 1, (size_t)(slash - level)) == 0)
        *slash = '\0'; /* p8/p8 is p8 */
    if (has_level && (!*level || strlen(level) >= sizeof span->level))
        return kvs_fail(err, KVS_ERR_ARG,
                        "--spans: \"%s\": want a level behind \"=\", as p4 or p8/p4", text);
    snprintf(span->level, sizeof span->level, "%.31s", level);
    if (!has_loss)
        return KVS_OK;
    if (kvs_parse_double(loss, &span->loss_nats, &own))
        return kvs_fail(err, KVS_ERR_ARG, "--spans: \"%s\": %s", text, own.msg);
    if (!(span->loss_nats >= 0 && span->loss_nats <= MOST_NATS))
        return kvs_fail(err, KVS_ERR_RANGE, "--spans: \"%s\": found %s, want 0 to %d nats", text,
                        loss, MOST_NATS);
    return KVS_OK;
}

/* "KIND:TOKENS[@TIER][=LEVEL][+NATS]"; tier: the name, "": none. */
static enum kvs_code read_span(const char *text, struct kvs_span *span, char tier[N_NAME],
                               struct kvs_err *err)
{
    const char *colon = strchr(text, ':');
    size_t n_kind = colon ? (size_t)(colon - text) : strcspn(text, "@=+");
    char kind[32], tok[32], known[200];
    struct kvs_err own = {0};
    uint64_t n_tok;
    int i = 0;

    bool at = take_part(text, '@', tier);
    snprintf(kind, sizeof kind, "%.*s", (int)n_kind, text);
    while (kvs_span_names[i] && strcmp(kvs_span_names[i], kind) != 0)
        i++;
    if (!kvs_span_names[i])
        return kvs_fail(err, KVS_ERR_ARG, "--spans: \"%s\": unknown kind \"%s\"%s", text, kind,
                        kvs_known(known, sizeof known, kind, kvs_span_names, N_KIND));
    if (!colon)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--spans: found \"%s\", want its tokens behind a colon: %s:4Ki", text,
                        kind);
    n_kind = strcspn(colon + 1, "@=+");
    snprintf(tok, sizeof tok, "%.*s", n_kind < 31 ? (int)n_kind : 31, colon + 1);
    if (kvs_parse_tok(tok, &n_tok, &own))
        return kvs_fail(err, KVS_ERR_ARG, "--spans: \"%s\": %s", text, own.msg);
    if (n_tok < 1 || n_tok > MOST_TOK)
        return kvs_fail(err, KVS_ERR_RANGE, "--spans: \"%s\": found %s tokens, want 1 to %d", text,
                        tok, MOST_TOK);
    *span = (struct kvs_span){.kind = (enum kvs_span_kind)i, .n_tok = (uint32_t)n_tok, .route = -1};
    if (at && !is_stored(span))
        return kvs_fail(err, KVS_ERR_ARG, "--spans: \"%s\": what is %s lies on no tier; want %s:%s",
                        text, i == KVS_SPAN_HBM ? "in HBM" : "not cached", kind, tok);
    if (at && !*tier)
        return kvs_fail(err, KVS_ERR_ARG, "--spans: \"%s\": want a tier behind \"@\"", text);
    return read_stored(text, span, err);
}

static enum kvs_code read_spans(struct kvs_plan_case *c, char tier[][N_NAME], struct kvs_err *err)
{
    const struct kvs_strs *spans = &c->options.spans;

    for (unsigned i = 0; i < spans->n; i++)
        if (read_span(spans->v[i], &c->span[i], tier[i], err))
            return err->code;
    c->n_span = spans->n;
    if (c->span[c->n_span - 1].kind != KVS_SPAN_NEW)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--spans: found \"%s\" at the end, want the new tokens there: new:256",
                        spans->v[spans->n - 1]);
    return KVS_OK;
}

static enum kvs_code count_tok(struct kvs_plan_case *c, struct kvs_err *err)
{
    uint64_t cached = 0, fresh = 0, n_block = 0, total;
    bool stored = false;

    for (uint32_t i = 0; i < c->n_span; i++) {
        const struct kvs_span *span = &c->span[i];

        *(span->kind == KVS_SPAN_NEW ? &fresh : &cached) += span->n_tok;
        n_block += (span->n_tok + c->options.block_tok - 1) / c->options.block_tok;
        stored |= is_stored(span);
        c->moved |= span->kind == KVS_SPAN_CONTENT;
    }
    total = cached + fresh;
    if (total > 2 * MOST_TOK)
        return kvs_fail(err, KVS_ERR_RANGE, "--spans: %llu tokens, want at most %d",
                        (unsigned long long)total, 2 * MOST_TOK);
    if (!stored)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--spans: nothing lies on a tier; want a span of prefix or content");
    if (n_block > MOST_BLOCKS + KVS_MAX_SPAN)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "--block: blocks of %llu tokens are more than 65,536 of %llu; want %llu or "
                        "more",
                        (unsigned long long)c->options.block_tok, (unsigned long long)total,
                        (unsigned long long)((total + MOST_BLOCKS - 1) / MOST_BLOCKS));
    c->context_tok = (uint32_t)cached;
    c->new_tok = (uint32_t)fresh;
    return KVS_OK;
}

/* Where spans name levels, these are all there are: raw16 of those that name none. */
static void take_levels(struct kvs_plan_case *c)
{
    struct kvs_strs *levels = &c->options.levels;

    for (uint32_t i = 0; i < c->n_span; i++) {
        c->as_held |= *c->span[i].level != '\0';
        c->carries |= c->span[i].loss_nats > 0;
    }
    for (uint32_t i = 0; c->as_held && i < c->n_span; i++) {
        struct kvs_span *span = &c->span[i];
        unsigned n = 0;

        if (!is_stored(span))
            continue;
        if (!*span->level)
            snprintf(span->level, sizeof span->level, "%s", KVS_CODEC_RAW);
        while (n < levels->n && strcmp(levels->v[n], span->level) != 0)
            n++;
        if (n == levels->n)
            levels->v[levels->n++] = span->level;
    }
}

enum kvs_code kvs_plan_spans(struct kvs_plan_case *c, struct kvs_err *err)
{
    const struct kvs_plan_options *o = &c->options;
    char tier[KVS_MAX_SPAN][N_NAME] = {""};
    bool shared = false; /* by what names no tier of its own */
    enum kvs_code code = KVS_OK;

    if (o->bandwidth > 0 && o->bandwidth < KVS_LEAST_BANDWIDTH)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "--bandwidth: found %g B/s, want 1MB/s or more, or 0 for the profile's",
                        o->bandwidth);
    if (o->spans.n > 0) {
        code = read_spans(c, tier, err);
    } else {
        c->span[c->n_span++] =
            (struct kvs_span){.kind = o->reuse == 1 ? KVS_SPAN_CONTENT : KVS_SPAN_PREFIX,
                              .n_tok = (uint32_t)o->context_tok,
                              .route = -1};
        c->span[c->n_span++] =
            (struct kvs_span){.kind = KVS_SPAN_NEW, .n_tok = (uint32_t)o->new_tok, .route = -1};
    }
    for (uint32_t i = 0; i < c->n_span; i++)
        shared |= is_stored(&c->span[i]) && !*tier[i];
    if (!code)
        take_levels(c);
    if (!code)
        code = count_tok(c, err);
    if (!code && shared)
        code = add_tiers(c, err);
    for (uint32_t i = 0; i < c->n_span && !code; i++)
        if (*tier[i])
            code = add_route(c, "--spans", tier[i], &c->span[i].route, err);
    return code;
}

static uint32_t turned_tok(uint64_t n_tok, double knob)
{
    double turned = round((double)n_tok * knob);

    return turned < 1 ? 1 : (uint32_t)turned;
}

/* One span's blocks from piece n on; those that share --tier's go in equal parts, the first part on
 * the tier that the profile has first. */
static uint32_t add_blocks(const struct kvs_plan_case *c, const struct kvs_variant *v,
                           const struct kvs_span *span, uint32_t n_tok, bool first,
                           struct kvs_piece *piece)
{
    uint32_t block_tok = (uint32_t)c->options.block_tok, n = 0;
    uint16_t held = 0;

    if (span->kind == KVS_SPAN_NEW || span->kind == KVS_SPAN_HBM) {
        *piece = (struct kvs_piece){.n_tok = n_tok,
                                    .where = span->kind == KVS_SPAN_NEW ? KVS_AT_NONE : KVS_AT_HBM};
        return 1;
    }
    for (uint32_t q = 0; c->as_held && q < v->levels->n; q++)
        if (strcmp(v->levels->level[q].name, span->level) == 0)
            held = (uint16_t)(held | 1u << q);
    assert(held || !c->as_held);
    for (uint32_t at = 0; at < n_tok; at += piece[n++].n_tok) {
        uint32_t left = n_tok - at;

        piece[n] = (struct kvs_piece){
            .n_tok = left < block_tok ? left : block_tok,
            .where = span->route >= 0 ? span->route : (int32_t)((uint64_t)at * c->n_tier / n_tok),
            /* the prompt's first passage stands where it stood */
            .moved = span->kind == KVS_SPAN_CONTENT && !(first && at == 0),
            .held = held,
            .loss = llround(span->loss_nats * KVS_NAT),
        };
    }
    return n;
}

enum kvs_code kvs_variant_pieces(const struct kvs_plan_case *c, const struct kvs_knobs *knobs,
                                 struct kvs_variant *v, uint32_t *n_piece, struct kvs_err *err)
{
    uint32_t n_tok[KVS_MAX_SPAN];
    size_t room = 0;

    v->context_tok = v->new_tok = *n_piece = 0;
    for (uint32_t i = 0; i < c->n_span; i++) {
        bool fresh = c->span[i].kind == KVS_SPAN_NEW;

        n_tok[i] = turned_tok(c->span[i].n_tok, fresh ? knobs->new_tok : knobs->context_tok);
        *(fresh ? &v->new_tok : &v->context_tok) += n_tok[i];
        room += n_tok[i] / c->options.block_tok + 1;
    }
    assert(room > 0);
    v->piece = calloc(room, sizeof *v->piece);
    if (!v->piece)
        return kvs_nomem(err);
    for (uint32_t i = 0; i < c->n_span; i++)
        *n_piece += add_blocks(c, v, &c->span[i], n_tok[i], i == 0, v->piece + *n_piece);
    return KVS_OK;
}
