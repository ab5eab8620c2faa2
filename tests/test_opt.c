#include "test.h"

#include "base/opt.h"

#include <stdlib.h>
#include <string.h>

struct config {
    uint64_t replicas, capacity, chunk;
    double share, rate, slo;
    const char *model;
    int evict;
    bool deep;
    struct kvs_strs compare;
    struct kvs_json tiers;
};

static const char *const evict_names[] = {"lru", "fifo", "s3fifo", NULL};

#define FIELD(name) offsetof(struct config, name)
static const struct kvs_opt table[] = {
    {.key = "replicas",
     .type = KVS_OPT_U64,
     .offset = FIELD(replicas),
     .min = 1,
     .max = 65536,
     .help = "how many"},
    {.key = "capacity",
     .type = KVS_OPT_BYTES,
     .offset = FIELD(capacity),
     .def = "40GiB",
     .help = "bytes kept",
     .letter = 'c'},
    {.key = "chunk",
     .type = KVS_OPT_TOK,
     .offset = FIELD(chunk),
     .def = "4Ki",
     .min = 1,
     .max = 1 << 20,
     .help = "tokens in a chunk"},
    {.key = "share",
     .type = KVS_OPT_DOUBLE,
     .offset = FIELD(share),
     .def = "0.5",
     .min = 0,
     .max = 1,
     .help = "a share"},
    {.key = "rate", .type = KVS_OPT_RATE, .offset = FIELD(rate), .def = "25GB/s", .help = "rate"},
    {.key = "slo", .type = KVS_OPT_TIME, .offset = FIELD(slo), .def = "2s", .help = "seconds"},
    {.key = "model", .type = KVS_OPT_STR, .offset = FIELD(model), .help = "model", .letter = 'm'},
    {.key = "evict",
     .type = KVS_OPT_ENUM,
     .offset = FIELD(evict),
     .def = "lru",
     .help = "policy",
     .names = evict_names},
    {.key = "deep", .type = KVS_OPT_FLAG, .offset = FIELD(deep), .def = "false", .help = "deep"},
    {.key = "compare",
     .type = KVS_OPT_LIST,
     .offset = FIELD(compare),
     .def = "best",
     .help = "policies"},
    {.key = "tiers", .type = KVS_OPT_NODE, .offset = FIELD(tiers), .help = "tiers"},
};
#define N_ROW (unsigned)(sizeof table / sizeof *table)

static enum kvs_code read_json(const char *text, struct config *config, struct kvs_doc **doc,
                               struct kvs_err *err)
{
    if (kvs_doc_parse("w.json", text, strlen(text), doc, err))
        fail_msg("%s", err->msg);
    return kvs_opt_json(table, N_ROW, kvs_json_get(kvs_doc_root(*doc), "cluster"), config, err);
}

static void json_sets_every_field(void **state)
{
    struct config c;
    struct kvs_err err = {0};
    struct kvs_doc *doc;
    (void)state;
    memset(&c, 0xff, sizeof c);
    if (read_json("{\"cluster\": {\"replicas\": 4, \"capacity\": \"1.5TB\", \"chunk\": \"2k\","
                  " \"share\": 1, \"rate\": \"100Gb/s\", \"slo\": 0.25, \"model\": \"m\","
                  " \"evict\": \"s3fifo\", \"deep\": true, \"compare\": [\"load\", \"best\"],"
                  " \"tiers\": [1]}}",
                  &c, &doc, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(c.replicas, 4);
    assert_int_equal(c.capacity, 1500000000000);
    assert_int_equal(c.chunk, 2000);
    assert_true(c.share == 1 && c.rate == 12.5e9 && c.slo == 0.25);
    assert_string_equal(c.model, "m");
    assert_int_equal(c.evict, 2);
    assert_true(c.deep);
    assert_int_equal(c.compare.n, 2);
    assert_string_equal(c.compare.v[1], "best");
    assert_string_equal(kvs_json_at(c.tiers, 0).path, "cluster.tiers[0]");
    json_t *record = kvs_opt_record(table, N_ROW, &c);
    char *text = json_dumps(record, JSON_COMPACT);
    assert_string_equal(text,
                        "{\"replicas\":4,\"capacity\":1500000000000,\"chunk\":2000,\"share\":1.0,"
                        "\"rate\":12500000000.0,\"slo\":0.25,\"model\":\"m\","
                        "\"evict\":\"s3fifo\",\"deep\":true,\"compare\":[\"load\",\"best\"],"
                        "\"tiers\":[1]}");
    free(text);
    json_decref(record);
    kvs_doc_free(doc);
}

static void absent_keys_take_their_defaults(void **state)
{
    struct config c;
    struct kvs_err err = {0};
    struct kvs_doc *doc;
    (void)state;
    memset(&c, 0xff, sizeof c);
    assert_int_equal(read_json("{\"cluster\": {\"replicas\": 1e3}}", &c, &doc, &err), KVS_OK);
    assert_int_equal(c.replicas, 1000);
    assert_int_equal(c.capacity, 40ull << 30);
    assert_int_equal(c.chunk, 4096);
    assert_true(c.share == 0.5 && c.rate == 25e9 && c.slo == 2);
    assert_null(c.model);
    assert_int_equal(c.evict, 0);
    assert_false(c.deep);
    assert_int_equal(c.compare.n, 1);
    assert_string_equal(c.compare.v[0], "best");
    assert_null(c.tiers.v);
    assert_string_equal(c.tiers.path, "cluster.tiers");
    kvs_doc_free(doc);
}

static void wrong_json_is_named_exactly(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"{}", "w.json: cluster: missing key \"replicas\"; want a whole number in 1..65536"},
        {"{\"cluster\": 3}", "w.json: cluster: found 3, want an object"},
        {"{\"cluster\": {\"replcas\": 3}}",
         "w.json: cluster.replcas: unknown key; did you mean \"replicas\"? known: replicas, "
         "capacity, chunk, share, rate, slo, model, evict, deep, compare, tiers"},
        {"{\"cluster\": {\"replicas\": 0}}",
         "w.json: cluster.replicas: found 0, want a whole number in 1..65536"},
        {"{\"cluster\": {\"replicas\": 1.5}}",
         "w.json: cluster.replicas: found 1.5, want a whole number in 1..65536"},
        {"{\"cluster\": {\"replicas\": \"4\"}}",
         "w.json: cluster.replicas: found \"4\", want a whole number in 1..65536"},
        {"{\"cluster\": {\"replicas\": 1, \"capacity\": \"5 XB\"}}",
         "w.json: cluster.capacity: found \"5 XB\", want bytes like \"4TiB\", \"512GB\" or a "
         "number"},
        {"{\"cluster\": {\"replicas\": 1, \"capacity\": 1.5}}",
         "w.json: cluster.capacity: found 1.5, want a whole number of bytes"},
        {"{\"cluster\": {\"replicas\": 1, \"capacity\": -1}}",
         "w.json: cluster.capacity: found -1, want bytes like \"4TiB\", \"512GB\" or a number"},
        {"{\"cluster\": {\"replicas\": 1, \"chunk\": 0}}",
         "w.json: cluster.chunk: found 0, want tokens like \"4k\", \"4Ki\" or a whole number in "
         "1..1048576"},
        {"{\"cluster\": {\"replicas\": 1, \"chunk\": 0.5}}",
         "w.json: cluster.chunk: found 0.5, want a whole number of tokens"},
        {"{\"cluster\": {\"replicas\": 1, \"share\": 1.01}}",
         "w.json: cluster.share: found 1.01, want a number in 0..1"},
        {"{\"cluster\": {\"replicas\": 1, \"share\": \"half\"}}",
         "w.json: cluster.share: found \"half\", want a number in 0..1"},
        {"{\"cluster\": {\"replicas\": 1, \"rate\": \"25GB\"}}",
         "w.json: cluster.rate: found \"25GB\", want a rate like \"25GB/s\", \"100Gb/s\" or a "
         "number "
         "of bytes per second"},
        {"{\"cluster\": {\"replicas\": 1, \"rate\": -5}}",
         "w.json: cluster.rate: found -5, want a rate like \"25GB/s\", \"100Gb/s\" or a number of "
         "bytes per second"},
        {"{\"cluster\": {\"replicas\": 1, \"slo\": null}}",
         "w.json: cluster.slo: found null, want a time like \"150ms\", \"2s\" or a number of "
         "seconds"},
        {"{\"cluster\": {\"replicas\": 1, \"model\": 8}}",
         "w.json: cluster.model: found 8, want a string"},
        {"{\"cluster\": {\"replicas\": 1, \"evict\": \"s3-fifo\"}}",
         "w.json: cluster.evict: found \"s3-fifo\", want one of lru, fifo, s3fifo; did you mean "
         "\"s3fifo\"?"},
        {"{\"cluster\": {\"replicas\": 1, \"evict\": 1}}",
         "w.json: cluster.evict: found 1, want one of lru, fifo, s3fifo"},
        {"{\"cluster\": {\"replicas\": 1, \"deep\": \"yes\"}}",
         "w.json: cluster.deep: found \"yes\", want true or false"},
        {"{\"cluster\": {\"replicas\": 1, \"compare\": \"best\"}}",
         "w.json: cluster.compare: found \"best\", want an array of strings"},
        {"{\"cluster\": {\"replicas\": 1, \"compare\": [\"best\", 2]}}",
         "w.json: cluster.compare[1]: found 2, want a string"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config c;
        struct kvs_err err = {0};
        struct kvs_doc *doc;
        assert_int_not_equal(read_json(cases[i].text, &c, &doc, &err), KVS_OK);
        assert_string_equal(err.msg, cases[i].want);
        assert_int_equal(kvs_exit_status(err.code), 2);
        kvs_doc_free(doc);
    }
}

/* Splits words at spaces into an argv whose strings may be written to. */
struct args {
    char text[256];
    char *v[20];
    int n;
};
static void split_words(struct args *args, const char *words)
{
    snprintf(args->text, sizeof args->text, "%s", words);
    args->n = 0;
    for (char *word = strtok(args->text, " "); word; word = strtok(NULL, " "))
        args->v[args->n++] = word;
}

static void command_line_sets_fields(void **state)
{
    struct args a;
    struct config c;
    struct kvs_strs pos;
    struct kvs_err err = {0};
    bool help;
    (void)state;
    split_words(&a, "run one.json --replicas 2 -c 4GiB --rate=1GB/s --deep --compare load,best "
                    "--compare x --chunk 1 --chunk 8 - -- --two");
    if (kvs_opt_argv(table, N_ROW, a.n, a.v, &c, &pos, &help, &err))
        fail_msg("%s", err.msg);
    assert_false(help);
    assert_int_equal(c.replicas, 2);
    assert_int_equal(c.capacity, 4ull << 30);
    assert_true(c.rate == 1e9 && c.slo == 2);
    assert_true(c.deep);
    assert_int_equal(c.chunk, 8);
    assert_int_equal(c.compare.n, 3);
    assert_string_equal(c.compare.v[0], "load");
    assert_string_equal(c.compare.v[2], "x");
    assert_int_equal(pos.n, 3);
    assert_string_equal(pos.v[0], "one.json");
    assert_string_equal(pos.v[1], "-");
    assert_string_equal(pos.v[2], "--two");
    split_words(&a, "run -h --nonsense");
    assert_int_equal(kvs_opt_argv(table, N_ROW, a.n, a.v, &c, &pos, &help, &err), KVS_OK);
    assert_true(help);
}

static void wrong_command_lines_are_named_exactly(void **state)
{
    static const struct {
        const char *words, *want;
    } cases[] = {
        {"run --replcas 2", "--replcas: unknown option; did you mean --replicas?"},
        {"run --replcas=2", "--replcas: unknown option; did you mean --replicas?"},
        {"run --hepl", "--hepl: unknown option; did you mean --help?"},
        {"run --zzzzzzzz", "--zzzzzzzz: unknown option; see --help"},
        {"run -x", "-x: unknown option; see --help"},
        {"run --tiers 5", "--tiers: unknown option; see --help"},
        {"run", "--replicas: missing; want a whole number in 1..65536"},
        {"run --replicas", "--replicas: missing value; want a whole number in 1..65536"},
        {"run --replicas -3", "--replicas: found \"-3\", want a whole number in 1..65536"},
        {"run --replicas=", "--replicas: found \"\", want a whole number in 1..65536"},
        {"run --deep=1", "--deep: takes no value"},
        {"run --evict lfo", "--evict: found \"lfo\", want one of lru, fifo, s3fifo; did you mean "
                            "\"fifo\"?"},
        {"run stray --replicas 1", "found the argument \"stray\", want options only"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct args a;
        struct config c;
        struct kvs_err err = {0};
        bool help;
        split_words(&a, cases[i].words);
        assert_int_equal(kvs_opt_argv(table, N_ROW, a.n, a.v, &c, NULL, &help, &err), KVS_ERR_ARG);
        assert_string_equal(err.msg, cases[i].want);
    }
}

static void many_keeps_each_value_whole(void **state)
{
    struct {
        struct kvs_strs sets;
    } c;
    static const struct kvs_opt many[] = {
        {"set", KVS_OPT_MANY, 0, NULL, 0, 0, "settings", NULL, false, 0},
    };
    char argv[][16] = {"x", "--set", "a=[1,2]", "--set=b=\"c\""};
    char *const v[] = {argv[0], argv[1], argv[2], argv[3]};
    struct kvs_err err = {0};
    bool help;
    (void)state;
    assert_int_equal(kvs_opt_argv(many, 1, 4, v, &c, NULL, &help, &err), KVS_OK);
    assert_int_equal(c.sets.n, 2);
    assert_string_equal(c.sets.v[0], "a=[1,2]");
    assert_string_equal(c.sets.v[1], "b=\"c\"");
}

/* JSON's topic_skew is --topic-skew, in help and in errors too. */
static void a_command_line_has_hyphens(void **state)
{
    double skew;
    static const struct kvs_opt one[] = {
        {"topic_skew", KVS_OPT_DOUBLE, 0, "1", 0, 10, "skew", NULL, false, 0},
    };
    char argv[][20] = {"x", "--topic-skew=2", "--topic_skew", "--topic-skew"};
    char *const good[] = {argv[0], argv[1]}, *const old[] = {argv[0], argv[2]},
                *const cut[] = {argv[0], argv[3]};
    struct kvs_err err = {0}, missing = {0};
    char *text;
    size_t n;
    bool help;

    (void)state;
    assert_int_equal(kvs_opt_argv(one, 1, 2, good, &skew, NULL, &help, &err), KVS_OK);
    assert_true(skew == 2);
    assert_int_equal(kvs_opt_argv(one, 1, 2, old, &skew, NULL, &help, &err), KVS_ERR_ARG);
    assert_string_equal(err.msg, "--topic_skew: unknown option; did you mean --topic-skew?");
    assert_int_equal(kvs_opt_argv(one, 1, 2, cut, &skew, NULL, &help, &missing), KVS_ERR_ARG);
    assert_non_null(strstr(missing.msg, "--topic-skew: missing value"));
    FILE *to = open_memstream(&text, &n);
    kvs_opt_help(to, "x", "y", one, 1);
    fclose(to);
    assert_non_null(strstr(text, " --topic-skew X "));
    free(text);
}

static void help_lists_every_option(void **state)
{
    char *text;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    (void)state;
    kvs_opt_help(to, "kvsim run FILE", "About it.", table, N_ROW);
    fclose(to);
    assert_string_equal(text,
                        "usage: kvsim run FILE\n\nAbout it.\n\noptions:\n"
                        "      --replicas N       how many [in 1..65536, required]\n"
                        "  -c, --capacity BYTES   bytes kept [default 40GiB]\n"
                        "      --chunk TOK        tokens in a chunk [in 1..1048576, default 4Ki]\n"
                        "      --share X          a share [in 0..1, default 0.5]\n"
                        "      --rate RATE        rate [default 25GB/s]\n"
                        "      --slo TIME         seconds [default 2s]\n"
                        "  -m, --model TEXT       model\n"
                        "      --evict NAME       policy [one of lru, fifo, s3fifo, default lru]\n"
                        "      --deep             deep\n"
                        "      --compare A,B,...  policies [default best]\n"
                        "  -h, --help             this text\n");
    free(text);
}

/* Where an option stands counts, not what looks like one. */
static void options_without_meaning_are_refused(void **state)
{
    static const char *const keys[] = {"chunk", "model", NULL};
    static const struct {
        const char *argv[5];
        const char *said; /* NULL: nothing */
    } cases[] = {
        {{"x", "--replicas", "3", NULL}, NULL},
        {{"x", "--replicas", "3", "--chunk=4", NULL}, "--chunk: means nothing"},
        {{"x", "-m", "a", NULL}, "--model: means nothing"},
        {{"x", "--slo", "--chunk", "--deep", NULL}, NULL}, /* a value */
        {{"x", "--deep", "--chunk", "4", NULL}, "--chunk: means nothing"},
        {{"x", "--", "--chunk", "4", NULL}, NULL},
        {{"x", "-", "chunk", "-c", NULL}, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {0};
        int argc = 0;
        while (cases[i].argv[argc])
            argc++;
        enum kvs_code code =
            kvs_opt_refuse(table, N_ROW, argc, (char *const *)(uintptr_t)cases[i].argv, keys,
                           "means nothing", &err);
        assert_int_equal(code, cases[i].said ? KVS_ERR_ARG : KVS_OK);
        assert_string_equal(err.msg, cases[i].said ? cases[i].said : "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_sets_every_field),
        cmocka_unit_test(absent_keys_take_their_defaults),
        cmocka_unit_test(wrong_json_is_named_exactly),
        cmocka_unit_test(command_line_sets_fields),
        cmocka_unit_test(wrong_command_lines_are_named_exactly),
        cmocka_unit_test(many_keeps_each_value_whole),
        cmocka_unit_test(options_without_meaning_are_refused),
        cmocka_unit_test(a_command_line_has_hyphens),
        cmocka_unit_test(help_lists_every_option),
    };
    return cmocka_run_group_tests_name("opt", tests, NULL, NULL);
}
