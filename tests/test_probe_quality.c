#include "test.h"

#include "model/quality.h"
#include "probes/damage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_PART = 4 };
static const double shares[2] = {0, .25};

/* Two layers: joint 0.01 and 0.04, two texts; shares of parts at the first level only. */
static struct kvs_damage *gathered(void)
{
    static const enum kvs_level levels[] = {KVS_E4, KVS_E2};
    struct kvs_damage *d;
    const struct kvs_quality_score first = {.008, .95, 3}, second = {.012, .91, 128};
    const struct kvs_quality_score coarse[] = {{.03, .9, 1}, {.05, .8, 0}};
    assert_int_equal(kvs_damage_new(N_PART, levels, 2, shares, 2, &d, NULL), KVS_OK);
    kvs_damage_joint(d, 0, &first, 4.5);
    kvs_damage_joint(d, 0, &second, 4.7);
    kvs_damage_joint(d, 1, &coarse[0], 2.5);
    kvs_damage_joint(d, 1, &coarse[1], 2.5);
    const struct kvs_quality_score moved[] = {{.3, .8, 1}, {.6, .7, 0}, {.06, .9, 4}};
    kvs_damage_repair(d, 0, .75, &moved[0]);
    kvs_damage_repair(d, 0, .75, &moved[1]);
    kvs_damage_repair(d, 1, .75, &moved[2]);
    for (uint32_t p = 0; p < N_PART; p++) {
        const struct kvs_quality_score part = {.kl = (p + 1) / 8. * first.kl};
        kvs_damage_part(d, 0, p, &part, &first);
    }
    return d;
}

static struct kvs_quality *read_back(json_t *json)
{
    struct kvs_err err = {0};
    struct kvs_doc *doc;
    struct kvs_quality *q = NULL;
    char *text = json_dumps(json, 0);
    if (kvs_doc_parse("quality", text, strlen(text), &doc, &err) ||
        kvs_quality_from(doc, 2, &q, &err))
        fail_msg("%s", err.msg);
    free(text);
    return q;
}

static void near(double got, double want)
{
    if (!(fabs(got / want - 1) <= 1e-9))
        fail_msg("found %.12g, want %.12g", got, want);
}

static void parts_are_shares_of_the_joint_damage(void **state)
{
    struct kvs_damage *d = gathered();
    const char *why;
    json_t *json = kvs_damage_json(d, "made", "two texts", &why);
    struct kvs_quality *q = read_back(json);
    (void)state;
    assert_int_equal(q->n_row, 2);
    near(q->row[0].joint.value, .01);
    near(q->row[0].agreement.value, .93);
    near(q->row[0].k_nats[0], .01 * .1); /* 1, 2, 3, 4 eighths, which make 10 */
    near(q->row[0].v_nats[0], .01 * .2);
    near(q->row[0].k_nats[1], .01 * .3);
    near(q->row[0].v_nats[1], .01 * .4);
    assert_int_equal(q->row[0].source, KVS_MEASURED);
    near(q->row[1].v_nats[1], .04 * .4); /* the other level's shares of its own joint */
    assert_int_equal(q->row[1].source, KVS_FITTED);
    assert_int_equal(q->row[1].joint.source, KVS_MEASURED);
    near(kvs_quality_repair_nats(q, "first-tokens", 0), .6); /* of text that moved, all of it */
    near(kvs_quality_repair_nats(q, "first-tokens", .25), .08);
    near(q->repair[0].nats.rel_error, 1. / 3); /* .4 and .8: .2 a text, over the root of n - 1 */
    near(q->repair[1].nats.rel_error, .5);     /* one text tells nothing of others */
    kvs_quality_free(q);
    json_decref(json);
    kvs_damage_free(d);
}

/* Joint .01, .02 and .04; shares alike at e3, 1 to 16 at e1.5: the roots between. At p8, the
 * finest, a part has .001 whatever it does. */
static void levels_between_take_shares_between(void **state)
{
    static const enum kvs_level levels[] = {KVS_P8, KVS_E3, KVS_E2_5, KVS_E2, KVS_E1_5};
    const double joint[] = {.001, .01, .02, .04, .08};
    const char *why;
    struct kvs_damage *d;
    (void)state;
    assert_int_equal(kvs_damage_new(2, levels, 5, NULL, 0, &d, NULL), KVS_OK);
    for (uint32_t i = 0; i < 5; i++) {
        const struct kvs_quality_score score = {joint[i], 1, 128};
        kvs_damage_joint(d, i, &score, 4);
    }
    for (uint32_t p = 0; p < 2; p++) {
        const struct kvs_quality_score any = {.kl = .001}, fine = {.kl = .5 * .01 + .001},
                                       coarse = {.kl = (p ? .64 : .04) * .04 + .001};
        const struct kvs_quality_score of[] = {{.kl = .001}, {.kl = .01}, {.kl = .04}};
        kvs_damage_part(d, 0, p, &any, &of[0]);
        kvs_damage_part(d, 1, p, &fine, &of[1]);
        kvs_damage_part(d, 3, p, &coarse, &of[2]);
    }
    json_t *json = kvs_damage_json(d, "made", "a text", &why);
    const json_t *rows = json_object_get(json, "levels");
    const double want[5][2] = {
        {.5, .5}, {.5, .5}, {sqrt(.5 * .04), sqrt(.5 * .64)}, {.04, .64}, {.04, .64}};
    for (uint32_t i = 0; i < 5; i++) {
        const json_t *row = json_array_get(rows, i);
        near(json_real_value(json_array_get(json_object_get(row, "k_nats"), 0)),
             want[i][0] * joint[i]);
        near(json_real_value(json_array_get(json_object_get(row, "v_nats"), 0)),
             want[i][1] * joint[i]);
    }
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 2), "ref")),
                        "kvprobe quality, a text; layers as at e3 and e2, scaled by the joint KL");
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 4), "ref")),
                        "kvprobe quality, a text; layers as at e2, scaled by the joint KL");
    json_decref(json);
    kvs_damage_free(d);
}

/* The text says .4 and .2, .2 and .2 one by one, .2 at once: each counts a fifth of it and more. */
static void layers_add_up_to_what_all_cost_at_once(void **state)
{
    static const char text[] =
        "{\"model\": \"m\", \"levels\": [{\"level\": \"e3\", \"k_nats\": [0.4, 0.2], \"v_nats\": "
        "[0.2, 0.2], \"joint_nats\": {\"value\": 0.2, \"source\": \"assumed\"}, \"source\": "
        "\"measured\", \"ref\": \"r\"}, {\"level\": \"e2\", \"k_nats\": [0.4, 0.2], \"v_nats\": "
        "[0.2, 0.2], \"source\": \"measured\", \"ref\": \"r\"}]}";
    json_t *json = json_loads(text, 0, NULL);
    struct kvs_quality *q = read_back(json);
    (void)state;
    near(kvs_quality_nats(q, 0, false, "e3", 0), .08);
    near(kvs_quality_nats(q, 0, true, "e3", 0), .04);
    near(kvs_quality_nats(q, 1, false, "e3", 0), .04);
    near(kvs_quality_nats(q, 1, true, "e3", 0), .04);
    near(kvs_quality_nats(q, 0, false, "e2", 0), .4); /* nobody measured them at once */
    kvs_quality_free(q);
    json_decref(json);
}

static void scores_that_were_kept_are_taken_up(void **state)
{
    static const enum kvs_level same[] = {KVS_E4, KVS_E2}, other[] = {KVS_E4, KVS_E3};
    struct kvs_damage *d = gathered(), *taken, *not_these, *fewer;
    const char *why;
    json_t *kept = kvs_damage_state(d), *before = kvs_damage_json(d, "made", "texts", &why);
    (void)state;
    assert_int_equal(kvs_damage_new(N_PART, same, 2, shares, 2, &taken, NULL), KVS_OK);
    assert_true(kvs_damage_restore(taken, kept));
    json_t *after = kvs_damage_json(taken, "made", "texts", &why);
    assert_true(before && json_equal(before, after));
    assert_int_equal(kvs_damage_new(N_PART, other, 2, shares, 2, &not_these, NULL), KVS_OK);
    assert_false(kvs_damage_restore(not_these, kept));
    taken->repair[1].share = .5;
    assert_false(kvs_damage_restore(taken, kept)); /* of other repairs */
    assert_int_equal(kvs_damage_new(N_PART - 2, same, 2, shares, 2, &fewer, NULL), KVS_OK);
    assert_false(kvs_damage_restore(fewer, kept));
    assert_false(kvs_damage_restore(taken, NULL));
    json_decref(kept);
    json_decref(before);
    json_decref(after);
    kvs_damage_free(d);
    kvs_damage_free(taken);
    kvs_damage_free(not_these);
    kvs_damage_free(fewer);
}

static void a_part_that_no_text_scored_is_said(void **state)
{
    static const enum kvs_level level = KVS_E3;
    const struct kvs_quality_score score = {.01, 1, 128};
    struct kvs_damage *d;
    const char *why;
    (void)state;
    assert_int_equal(kvs_damage_new(N_PART, &level, 1, NULL, 0, &d, NULL), KVS_OK);
    kvs_damage_joint(d, 0, &score, 3);
    for (uint32_t p = 0; p + 1 < N_PART; p++)
        kvs_damage_part(d, 0, p, &score, &score);
    assert_null(kvs_damage_json(d, "made", "one text", &why));
    assert_non_null(why);
    kvs_damage_free(d);
}

/* --- a small model --------------------------------------------------------------------------- */

enum { CONTEXT = 96, WINDOW = 32 };

static void levels_change_the_model_as_much_as_they_are_coarse(void **state)
{
    const char *path = kvs_shared("models/stories260K.bin");
    struct kvs_weights *w;
    struct kvs_lab *lab;
    struct kvs_err err = {0};
    struct kvs_quality_score exact, fine, coarse, part, again;
    uint32_t tok[CONTEXT + WINDOW], same[CONTEXT + WINDOW];
    uint8_t level[256];
    double nll = 0, bits = 0;
    (void)state;
    if (!path)
        KVS_SKIP("models/stories260K.bin is not there");
    assert_int_equal(kvs_weights_open(path, &w, &err), KVS_OK);
    uint32_t n_part = 2 * kvs_weights_shape(w)->n_layer;
    struct kvs_quality_config config = {"cpu", 0, w, CONTEXT, WINDOW, 32, 4};
    if (kvs_lab_open(&config, &lab, &err) || kvs_lab_sample(lab, 5, tok, CONTEXT + WINDOW, &err) ||
        kvs_lab_sample(lab, 5, same, CONTEXT + WINDOW, &err) || kvs_lab_read(lab, tok, &nll, &err))
        fail_msg("%s", err.msg);
    assert_memory_equal(tok, same, sizeof tok); /* the seed decides */
    assert_true(nll > .2 && nll < 5);           /* its own text: far from log 512 */
    memset(level, KVS_RAW16, sizeof level);
    assert_int_equal(kvs_lab_encode(lab, level, true, &bits, &err), KVS_OK);
    assert_int_equal(kvs_lab_score(lab, 0, n_part, &exact, &err), KVS_OK);
    assert_true(exact.kl < 1e-6 && exact.agreement > 1 - 1e-9 && exact.first_tok == WINDOW);
    memset(level, KVS_E5, sizeof level);
    assert_int_equal(kvs_lab_encode(lab, level, true, &bits, &err), KVS_OK);
    assert_int_equal(kvs_lab_score(lab, 0, n_part, &fine, &err), KVS_OK);
    memset(level, KVS_E1_5, sizeof level);
    assert_int_equal(kvs_lab_encode(lab, level, true, &bits, &err), KVS_OK);
    assert_int_equal(kvs_lab_score(lab, 0, n_part, &coarse, &err), KVS_OK);
    assert_int_equal(kvs_lab_score(lab, 3, 1, &part, &err), KVS_OK);
    assert_int_equal(kvs_lab_score(lab, 0, n_part, &again, &err), KVS_OK);
    assert_true(fine.kl > exact.kl && coarse.kl > 18 * fine.kl && coarse.agreement <= 1);
    assert_true(part.kl > 0 && part.kl < coarse.kl); /* one alone, the rest as it was */
    assert_true(again.kl == coarse.kl);              /* and all comes back */
    assert_int_equal(kvs_lab_score(lab, n_part, 1, &again, &err), KVS_ERR_RANGE);
    /* passages of 24: nothing of the other three repaired, some, all, and one that did not move */
    assert_int_equal(kvs_lab_move(lab, CONTEXT / 4, &err), KVS_OK);
    /* layer 0 knows no context: its K, once turned, and V are what they were, but for rounding */
    assert_int_equal(kvs_lab_score(lab, 0, 2, &part, &err), KVS_OK);
    assert_true(part.kl < 1e-3);
    assert_int_equal(kvs_lab_score_moved(lab, CONTEXT / 4, 0, &coarse, &err), KVS_OK);
    assert_int_equal(kvs_lab_score_moved(lab, CONTEXT / 4, 8, &fine, &err), KVS_OK);
    assert_int_equal(kvs_lab_score_moved(lab, CONTEXT / 4, CONTEXT / 4, &exact, &err), KVS_OK);
    assert_true(coarse.kl > fine.kl && fine.kl > .1 && exact.kl < 1e-5);
    assert_int_equal(kvs_lab_score_moved(lab, CONTEXT / 4, 0, &again, &err), KVS_OK);
    assert_true(again.kl == coarse.kl);
    assert_int_equal(kvs_lab_move(lab, CONTEXT, &err), KVS_OK);
    assert_int_equal(kvs_lab_score_moved(lab, CONTEXT, 0, &exact, &err), KVS_OK);
    assert_true(exact.kl < 1e-5);
    assert_int_equal(kvs_lab_move(lab, 0, &err), KVS_ERR_RANGE);
    kvs_lab_close(lab);
    kvs_weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_shares_of_the_joint_damage),
        cmocka_unit_test(levels_between_take_shares_between),
        cmocka_unit_test(layers_add_up_to_what_all_cost_at_once),
        cmocka_unit_test(scores_that_were_kept_are_taken_up),
        cmocka_unit_test(a_part_that_no_text_scored_is_said),
        cmocka_unit_test(levels_change_the_model_as_much_as_they_are_coarse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
