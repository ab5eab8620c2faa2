/*
 * JSON documents, an option table over them, and --set: TEXT, or TEXT NUL PATH NUL VALUE.
 */
#include "base/opt.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

struct sample {
    uint64_t n, bytes, tok;
    double x, rate, time;
    const char *text;
    int name;
    bool flag;
    struct kvs_strs list;
    struct kvs_json node;
};

static const char *const names[] = {"lru", "fifo", "s3fifo", NULL};

#define FIELD(name) offsetof(struct sample, name)
static const struct kvs_opt table[] = {
    {.key = "n",
     .type = KVS_OPT_U64,
     .offset = FIELD(n),
     .def = "1",
     .min = 1,
     .max = 99,
     .help = ""},
    {.key = "bytes", .type = KVS_OPT_BYTES, .offset = FIELD(bytes), .def = "1GiB", .help = ""},
    {.key = "tok", .type = KVS_OPT_TOK, .offset = FIELD(tok), .def = "4k", .help = ""},
    {.key = "x", .type = KVS_OPT_DOUBLE, .offset = FIELD(x), .def = "0.5", .max = 1, .help = ""},
    {.key = "rate", .type = KVS_OPT_RATE, .offset = FIELD(rate), .def = "1GB/s", .help = ""},
    {.key = "time", .type = KVS_OPT_TIME, .offset = FIELD(time), .def = "1s", .help = ""},
    {.key = "text", .type = KVS_OPT_STR, .offset = FIELD(text), .help = ""},
    {.key = "name",
     .type = KVS_OPT_ENUM,
     .offset = FIELD(name),
     .def = "lru",
     .names = names,
     .help = ""},
    {.key = "flag", .type = KVS_OPT_FLAG, .offset = FIELD(flag), .def = "false", .help = ""},
    {.key = "list", .type = KVS_OPT_LIST, .offset = FIELD(list), .def = "a", .help = ""},
    {.key = "node", .type = KVS_OPT_NODE, .offset = FIELD(node), .help = ""},
};
#define N_ROW (unsigned)(sizeof table / sizeof *table)

/* An error has its code and a sentence; success has neither. */
static void check(enum kvs_code code, struct kvs_err *err)
{
    if (err->code != code || (err->msg[0] == '\0') != (code == KVS_OK))
        abort();
    *err = (struct kvs_err){0};
}

/* What a table accepts it records, and accepts again. */
static void read_options(const struct kvs_doc *doc)
{
    struct kvs_err err = {0};
    struct sample sample;
    enum kvs_code code = kvs_opt_json(table, N_ROW, kvs_doc_root(doc), &sample, &err);
    check(code, &err);
    if (code)
        return;
    json_t *record = kvs_opt_record(table, N_ROW, &sample);
    if (!record || json_object_size(record) != N_ROW)
        abort();
    json_decref(record);
}

static void set(struct kvs_doc *doc, const char *path, const char *value)
{
    struct kvs_err err = {0};
    check(kvs_doc_set(doc, path, value, &err), &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_err err = {0};
    struct kvs_doc *doc;
    char *text = malloc(n_byte + 1);
    if (!text)
        return 0;
    memcpy(text, data, n_byte);
    text[n_byte] = '\0';
    size_t n_text = strlen(text);
    enum kvs_code code = kvs_doc_parse("f.json", text, n_text, &doc, &err);
    check(code, &err);
    if (code == KVS_OK) {
        read_options(doc);
        const char *path = n_text < n_byte ? text + n_text + 1 : NULL;
        const char *value =
            path && path + strlen(path) < text + n_byte ? path + strlen(path) + 1 : NULL;
        if (value)
            set(doc, path, value);
        char *dump = kvs_doc_dump(doc);
        if (!dump)
            abort();
        free(dump);
    }
    kvs_doc_free(doc);
    free(text);
    return 0;
}
