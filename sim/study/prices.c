#include "prices.h"

#include "base/data.h"
#include "base/opt.h"

#include <stdlib.h>
#include <string.h>

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))

static const struct {
    const char *key;
    bool of_drive;
} places[KVS_N_PRICE] = {
    [KVS_PRICE_YEARS] = {"years", false},
    [KVS_PRICE_GPU] = {"gpu", false},
    [KVS_PRICE_GPU_POWER_W] = {"gpu_power_w", false},
    [KVS_PRICE_DRAM_GIB] = {"dram_gib", false},
    [KVS_PRICE_DRIVE_BYTES] = {"capacity_bytes", true},
    [KVS_PRICE_DRIVE] = {"price", true},
    [KVS_PRICE_DRIVE_READ] = {"read_bytes_per_s", true},
    [KVS_PRICE_DRIVE_WRITE] = {"write_bytes_per_s", true},
    [KVS_PRICE_DRIVE_IOPS] = {"read_iops", true},
    [KVS_PRICE_DRIVE_DELIVERED] = {"delivered_frac", true},
    [KVS_PRICE_DRIVE_DWPD] = {"dwpd", true},
    [KVS_PRICE_KWH] = {"kwh", false},
    [KVS_PRICE_PUE] = {"pue", false},
};

struct figure_in {
    double value;
    const char *source, *ref, *date;
};

static const struct kvs_opt figure_table[] = {
    {"value", KVS_OPT_DOUBLE, offsetof(struct figure_in, value), NULL, 1e-9, 1e18, "a number", NULL,
     true, 0},
    {"source", KVS_OPT_STR, offsetof(struct figure_in, source), NULL, 0, 0, "published or assumed",
     NULL, true, 0},
    {"ref", KVS_OPT_STR, offsetof(struct figure_in, ref), NULL, 0, 0, "where from", NULL, true, 0},
    {"date", KVS_OPT_STR, offsetof(struct figure_in, date), NULL, 0, 0, "of the source", NULL,
     false, 0},
};

static struct kvs_json place(const struct kvs_prices *prices, unsigned i)
{
    const struct kvs_json root = kvs_doc_root(prices->doc);
    return kvs_json_get(places[i].of_drive ? kvs_json_get(root, "drive") : root, places[i].key);
}

static enum kvs_code read_figure(struct kvs_json node, struct figure_in *in, struct kvs_err *err)
{
    enum kvs_code code;
    if (!node.v)
        return kvs_json_want(node, err, KVS_ERR_PARSE, "{\"value\", \"source\", \"ref\"}");
    if ((code = kvs_json_object(node, err)) ||
        (code = kvs_opt_json(figure_table, N(figure_table), node, in, err)))
        return code;
    if (strcmp(in->source, "published") != 0 && strcmp(in->source, "assumed") != 0)
        return kvs_json_fail(kvs_json_get(node, "source"), err, KVS_ERR_ARG,
                             "found \"%s\", want \"published\" or \"assumed\"", in->source);
    if (strcmp(in->source, "published") == 0 && !in->date)
        return kvs_json_fail(kvs_json_get(node, "date"), err, KVS_ERR_ARG,
                             "missing; want the date of what was published");
    return KVS_OK;
}

static enum kvs_code check_keys(struct kvs_json node, bool of_drive, struct kvs_err *err)
{
    const char *names[KVS_N_PRICE + 4];
    unsigned n = 0;
    for (unsigned i = 0; i < KVS_N_PRICE; i++)
        if (places[i].of_drive == of_drive)
            names[n++] = places[i].key;
    if (!of_drive) {
        names[n++] = "name";
        names[n++] = "about";
        names[n++] = "currency";
        names[n++] = "drive";
    }
    enum kvs_code code = kvs_json_object(node, err);
    return code ? code : kvs_json_only(node, names, n, err);
}

static enum kvs_code read_prices(struct kvs_prices *prices, struct kvs_err *err)
{
    const struct kvs_json root = kvs_doc_root(prices->doc);
    enum kvs_code code;
    if ((code = check_keys(root, false, err)) ||
        (code = check_keys(kvs_json_get(root, "drive"), true, err)) ||
        (code = kvs_json_str(kvs_json_get(root, "name"), &prices->name, err)) ||
        (code = kvs_json_str(kvs_json_get(root, "currency"), &prices->currency, err)))
        return code;
    for (unsigned i = 0; i < KVS_N_PRICE; i++) {
        struct figure_in in;
        if ((code = read_figure(place(prices, i), &in, err)))
            return code;
        prices->value[i] = in.value;
    }
    return KVS_OK;
}

enum kvs_code kvs_prices_open(const char *name_or_file, struct kvs_prices **out,
                              struct kvs_err *err)
{
    struct kvs_prices *prices = calloc(1, sizeof *prices);
    char *path = NULL;
    enum kvs_code code;
    *out = NULL;
    if (!prices)
        return kvs_nomem(err);
    if (!(code = kvs_data_find("prices", "configs/prices", name_or_file, &path, err)) &&
        !(code = kvs_doc_open(path, &prices->doc, err)))
        code = read_prices(prices, err);
    free(path);
    if (code) {
        kvs_prices_free(prices);
        return code;
    }
    *out = prices;
    return KVS_OK;
}

void kvs_prices_free(struct kvs_prices *prices)
{
    if (!prices)
        return;
    kvs_doc_free(prices->doc);
    free(prices);
}

void kvs_prices_print(const struct kvs_prices *prices, FILE *to)
{
    for (unsigned i = 0; i < KVS_N_PRICE; i++) {
        struct figure_in in = {0};
        char name[64];
        if (read_figure(place(prices, i), &in, NULL))
            continue;
        snprintf(name, sizeof name, "%s%s", places[i].of_drive ? "drive." : "", places[i].key);
        fprintf(to, "  %-24s %-10.6g %-9s %-8s %s\n", name, in.value, in.source,
                in.date ? in.date : "", in.ref);
    }
}
