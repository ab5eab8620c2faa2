#include "prices.h"

#include "base/data.h"
#include "base/opt.h"
#include "model/hardware.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))

struct figure_in {
    double value;
    const char *source, *ref, *date;
};

static const struct kvs_opt figure_table[] = {
    {"value", KVS_OPT_DOUBLE, offsetof(struct figure_in, value), NULL, -1e18, 1e18, "a number",
     NULL, true, 0},
    {"source", KVS_OPT_STR, offsetof(struct figure_in, source), NULL, 0, 0, "published or assumed",
     NULL, true, 0},
    {"ref", KVS_OPT_STR, offsetof(struct figure_in, ref), NULL, 0, 0, "where from", NULL, true, 0},
    {"date", KVS_OPT_STR, offsetof(struct figure_in, date), NULL, 0, 0, "of the source", NULL,
     false, 0},
};

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

/* --- objects of figures ------------------------------------------------------------------------
 */

enum need { MUST, MAY, MAY_BE_NEGATIVE };

struct field {
    const char *key;
    size_t at; /* a double; 0 where the file has none */
    enum need need;
};

#define TOP(field) offsetof(struct kvs_prices, field)
#define GPU(field) offsetof(struct kvs_priced_gpu, field)
#define DRIVE(field) offsetof(struct kvs_priced_drive, field)
#define NIC(field) offsetof(struct kvs_priced_nic, field)

static const struct field top_fields[] = {{"years", TOP(years), MAY},
                                          {"dram_gib", TOP(dram_gib), MAY},
                                          {"kwh", TOP(kwh), MAY},
                                          {"pue", TOP(pue), MAY}},
                          gpu_fields[] = {{"price", GPU(price), MAY},
                                          {"power_w", GPU(power_w), MAY},
                                          {"rent", GPU(rent), MAY},
                                          {"with_dram_gib", GPU(with_dram_gib), MAY},
                                          {"with_drive_bytes", GPU(with_drive_bytes), MAY}},
                          drive_fields[] = {{"capacity_bytes", DRIVE(bytes), MUST},
                                            {"price", DRIVE(price), MAY},
                                            {"read_bytes_per_s", DRIVE(read), MUST},
                                            {"write_bytes_per_s", DRIVE(write), MUST},
                                            {"read_iops", DRIVE(iops), MUST},
                                            {"delivered_frac", DRIVE(delivered), MUST},
                                            {"dwpd", DRIVE(dwpd), MUST}},
                          nic_fields[] = {{"bytes_per_s", NIC(bytes_per_s), MUST},
                                          {"price", NIC(price), MAY_BE_NEGATIVE}};

/* The figures of an object and its name, the key `name_key`; other keys are those of `more`. */
static enum kvs_code read_fields(struct kvs_json node, const struct field *field, unsigned n,
                                 const char *name_key, const char **name, const char *const *more,
                                 void *out, struct kvs_err *err)
{
    const char *keys[16];
    unsigned n_key = 0;
    enum kvs_code code = kvs_json_object(node, err);
    for (unsigned i = 0; i < n; i++)
        keys[n_key++] = field[i].key;
    keys[n_key++] = name_key;
    for (; more && *more; more++)
        keys[n_key++] = *more;
    if (code || (code = kvs_json_only(node, keys, n_key, err)) ||
        (code = kvs_json_str(kvs_json_get(node, name_key), name, err)))
        return code;
    for (unsigned i = 0; i < n; i++) {
        const struct kvs_json at = kvs_json_get(node, field[i].key);
        struct figure_in in;
        if (!at.v && field[i].need == MAY)
            continue;
        if ((code = read_figure(at, &in, err)))
            return code;
        if (field[i].need != MAY_BE_NEGATIVE && !(in.value > 0))
            return kvs_json_fail(kvs_json_get(at, "value"), err, KVS_ERR_RANGE,
                                 "found %g, want above 0", in.value);
        *(double *)((char *)out + field[i].at) = in.value;
    }
    return KVS_OK;
}

static enum kvs_code read_gpu(struct kvs_json node, struct kvs_priced_gpu *gpu, struct kvs_err *err)
{
    struct kvs_hw *hw = NULL;
    enum kvs_code code =
        read_fields(node, gpu_fields, N(gpu_fields), "hardware", &gpu->hardware, NULL, gpu, err);
    if (code)
        return code;
    if ((gpu->price > 0) == (gpu->rent > 0) || (gpu->price > 0) != (gpu->power_w > 0))
        return kvs_json_fail(node, err, KVS_ERR_ARG,
                             "want \"price\" and \"power_w\" (bought), or \"rent\" (by the hour)");
    if ((code = kvs_hw_open(gpu->hardware, &hw, err)))
        return code;
    gpu->gpus_per_host = hw->gpus_per_host;
    kvs_hw_free(hw);
    return KVS_OK;
}

static enum kvs_code read_drive(struct kvs_json node, struct kvs_priced_drive *drive,
                                struct kvs_err *err)
{
    return read_fields(node, drive_fields, N(drive_fields), "name", &drive->name, NULL, drive, err);
}

static enum kvs_code read_nic(struct kvs_json node, struct kvs_priced_nic *nic, struct kvs_err *err)
{
    return read_fields(node, nic_fields, N(nic_fields), "name", &nic->name, NULL, nic, err);
}

/* A list of 1 (0, where it may be absent) to KVS_MAX_PRICED objects. */
static enum kvs_code open_list(struct kvs_json list, bool may_be_absent, uint32_t *n,
                               struct kvs_err *err)
{
    enum kvs_code code;
    *n = 0;
    if (!list.v && may_be_absent)
        return KVS_OK;
    if ((code = kvs_json_array(list, err)))
        return code;
    if (kvs_json_size(list) == 0 || kvs_json_size(list) > KVS_MAX_PRICED)
        return kvs_json_fail(list, err, KVS_ERR_RANGE, "found %zu, want 1 to %d",
                             kvs_json_size(list), KVS_MAX_PRICED);
    *n = (uint32_t)kvs_json_size(list);
    return KVS_OK;
}

/* What is bought needs the years over which it is written off, and the price of its power. */
static enum kvs_code check_bought(const struct kvs_prices *prices, struct kvs_err *err)
{
    const struct kvs_json root = kvs_doc_root(prices->doc);
    bool bought = prices->dram_gib > 0 || prices->n_nic > 0, power = false;
    for (uint32_t i = 0; i < prices->n_gpu; i++)
        power |= prices->gpu[i].price > 0;
    for (uint32_t i = 0; i < prices->n_drive; i++)
        bought |= prices->drive[i].price > 0;
    if ((bought || power) && !(prices->years > 0))
        return kvs_json_want(kvs_json_get(root, "years"), err, KVS_ERR_PARSE,
                             "{\"value\", \"source\", \"ref\"}");
    if (power && !(prices->kwh > 0 && prices->pue > 0))
        return kvs_json_want(kvs_json_get(root, prices->kwh > 0 ? "pue" : "kwh"), err,
                             KVS_ERR_PARSE, "{\"value\", \"source\", \"ref\"}");
    return KVS_OK;
}

static enum kvs_code read_prices(struct kvs_prices *prices, struct kvs_err *err)
{
    static const char *const more[] = {"about", "currency", "gpus", "drives", "nics", NULL};
    const struct kvs_json root = kvs_doc_root(prices->doc), gpus = kvs_json_get(root, "gpus"),
                          drives = kvs_json_get(root, "drives"), nics = kvs_json_get(root, "nics");
    enum kvs_code code;
    if ((code = read_fields(root, top_fields, N(top_fields), "name", &prices->name, more, prices,
                            err)) ||
        (code = kvs_json_str(kvs_json_get(root, "currency"), &prices->currency, err)) ||
        (code = open_list(gpus, false, &prices->n_gpu, err)) ||
        (code = open_list(drives, false, &prices->n_drive, err)) ||
        (code = open_list(nics, true, &prices->n_nic, err)))
        return code;
    for (uint32_t i = 0; i < prices->n_gpu; i++)
        if ((code = read_gpu(kvs_json_at(gpus, i), &prices->gpu[i], err)))
            return code;
    for (uint32_t i = 0; i < prices->n_drive; i++)
        if ((code = read_drive(kvs_json_at(drives, i), &prices->drive[i], err)))
            return code;
    for (uint32_t i = 0; i < prices->n_nic; i++)
        if ((code = read_nic(kvs_json_at(nics, i), &prices->nic[i], err)))
            return code;
    return check_bought(prices, err);
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

/* --- printing ----------------------------------------------------------------------------------
 */

static void print_object(struct kvs_json node, const char *of, const struct field *field,
                         unsigned n, FILE *to)
{
    for (unsigned i = 0; i < n; i++) {
        const struct kvs_json at = kvs_json_get(node, field[i].key);
        struct figure_in in;
        char name[96];
        if (!at.v || read_figure(at, &in, NULL))
            continue;
        snprintf(name, sizeof name, "%s%s%s", of, *of ? " " : "", field[i].key);
        fprintf(to, "  %-30s %-10.6g %-9s %-10s %s\n", name, in.value, in.source,
                in.date ? in.date : "", in.ref);
    }
}

void kvs_prices_print(const struct kvs_prices *prices, FILE *to)
{
    const struct kvs_json root = kvs_doc_root(prices->doc);
    print_object(root, "", top_fields, N(top_fields), to);
    for (uint32_t i = 0; i < prices->n_gpu; i++)
        print_object(kvs_json_at(kvs_json_get(root, "gpus"), i), prices->gpu[i].hardware,
                     gpu_fields, N(gpu_fields), to);
    for (uint32_t i = 0; i < prices->n_drive; i++)
        print_object(kvs_json_at(kvs_json_get(root, "drives"), i), prices->drive[i].name,
                     drive_fields, N(drive_fields), to);
    for (uint32_t i = 0; i < prices->n_nic; i++)
        print_object(kvs_json_at(kvs_json_get(root, "nics"), i), prices->nic[i].name, nic_fields,
                     N(nic_fields), to);
}
