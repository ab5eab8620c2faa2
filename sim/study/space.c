#include "space.h"

#include "base/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const kvs_dim_name[KVS_N_DIM] = {"replicas", "dram", "drives"};

uint64_t kvs_space_n(const struct kvs_space *space)
{
    return (uint64_t)space->n[0] * space->n[1] * space->n[2];
}

struct kvs_choice kvs_space_at(const struct kvs_space *space, uint64_t number)
{
    struct kvs_choice choice;
    for (int d = KVS_N_DIM - 1; d >= 0; d--) {
        choice.i[d] = (uint32_t)(number % space->n[d]);
        number /= space->n[d];
    }
    return choice;
}

uint64_t kvs_space_number(const struct kvs_space *space, struct kvs_choice choice)
{
    uint64_t number = 0;
    for (int d = 0; d < KVS_N_DIM; d++)
        number = number * space->n[d] + choice.i[d];
    return number;
}

struct kvs_cost_hour kvs_space_cost(const struct kvs_space *space, struct kvs_choice choice)
{
    const double *price = space->prices->value;
    const uint64_t gpus = space->choice[KVS_DIM_REPLICAS][choice.i[0]] * space->tp;
    const uint64_t hosts = (gpus + space->gpus_per_host - 1) / space->gpus_per_host;
    const double gib = (double)space->choice[KVS_DIM_DRAM][choice.i[1]] / 0x1p30;
    const double hours = price[KVS_PRICE_YEARS] * KVS_HOURS_A_YEAR;
    struct kvs_cost_hour cost = {.hosts = (uint32_t)hosts};
    const double gpu = (double)gpus * price[KVS_PRICE_GPU];
    const double dram = (double)hosts * gib * price[KVS_PRICE_DRAM_GIB];
    const double drives =
        (double)(hosts * space->choice[KVS_DIM_DRIVES][choice.i[2]]) * price[KVS_PRICE_DRIVE];
    cost.invest = gpu + dram + drives;
    cost.gpu = gpu / hours;
    cost.dram = dram / hours;
    cost.drives = drives / hours;
    cost.power = (double)gpus * price[KVS_PRICE_GPU_POWER_W] / 1000 * price[KVS_PRICE_KWH] *
                 price[KVS_PRICE_PUE];
    cost.all = cost.gpu + cost.dram + cost.drives + cost.power;
    return cost;
}

char *kvs_space_text(const struct kvs_space *space, struct kvs_choice choice,
                     char text[KVS_CHOICE_TEXT])
{
    const uint64_t dram = space->choice[KVS_DIM_DRAM][choice.i[1]],
                   drives = space->choice[KVS_DIM_DRIVES][choice.i[2]];
    char bytes[KVS_TEXT_MAX];
    int n = snprintf(text, KVS_CHOICE_TEXT, "%" PRIu64 " x %u GPU, %u host%s",
                     space->choice[0][choice.i[0]], space->tp, kvs_space_cost(space, choice).hosts,
                     kvs_space_cost(space, choice).hosts == 1 ? "" : "s");
    if (dram)
        n += snprintf(text + n, (size_t)(KVS_CHOICE_TEXT - n), ", %s DRAM",
                      kvs_text_bytes(bytes, (double)dram));
    if (drives)
        snprintf(text + n, (size_t)(KVS_CHOICE_TEXT - n), ", %" PRIu64 " drive%s", drives,
                 drives == 1 ? "" : "s");
    return text;
}

/* --- as a sweep --------------------------------------------------------------------------------
 */

/* {"tiers": [...], "hardware_set": {...}} of one choice of DRAM and drives. */
static json_t *tier_set(const struct kvs_space *space, uint64_t dram, uint64_t drives)
{
    const double *price = space->prices->value;
    json_t *tiers = json_array(), *hw = json_object();
    if (dram)
        json_array_append_new(
            tiers, json_pack("{s:s, s:I}", "name", "dram", "capacity", (json_int_t)dram));
    if (drives) {
        const double n = (double)drives, share = price[KVS_PRICE_DRIVE_DELIVERED];
        json_array_append_new(tiers, json_pack("{s:s, s:I}", "name", "nvme", "capacity",
                                               (json_int_t)(n * price[KVS_PRICE_DRIVE_BYTES])));
        json_object_set_new(hw, "links.nvme.read_bytes_per_s",
                            json_real(n * share * price[KVS_PRICE_DRIVE_READ]));
        json_object_set_new(hw, "links.nvme.write_bytes_per_s",
                            json_real(n * share * price[KVS_PRICE_DRIVE_WRITE]));
        json_object_set_new(hw, "links.nvme.descriptor_s",
                            json_real(1 / (n * price[KVS_PRICE_DRIVE_IOPS])));
    }
    return json_pack("{s:o, s:o}", "tiers", tiers, "hardware_set", hw);
}

static json_t *replicas_axis(const struct kvs_space *space)
{
    json_t *values = json_array();
    for (uint32_t i = 0; i < space->n[0]; i++)
        json_array_append_new(values, json_integer((json_int_t)space->choice[0][i]));
    return json_pack("{s:s, s:o}", "path", "cluster.replicas", "values", values);
}

static json_t *tiers_axis(const struct kvs_space *space)
{
    json_t *choices = json_array();
    for (uint32_t i = 0; i < space->n[KVS_DIM_DRAM]; i++)
        for (uint32_t k = 0; k < space->n[KVS_DIM_DRIVES]; k++) {
            const uint64_t dram = space->choice[KVS_DIM_DRAM][i],
                           drives = space->choice[KVS_DIM_DRIVES][k];
            char name[80], bytes[KVS_TEXT_MAX];
            snprintf(name, sizeof name, "%s + %" PRIu64 " drives",
                     kvs_text_bytes(bytes, (double)dram), drives);
            json_array_append_new(choices, json_pack("{s:s, s:o}", "name", name, "set",
                                                     tier_set(space, dram, drives)));
        }
    return json_pack("{s:s, s:o}", "name", "tiers", "choices", choices);
}

char *kvs_space_sweep(const struct kvs_space *space, const char *workload)
{
    json_t *sweep = json_pack("{s:s, s:[o, o]}", "workload", workload, "axes", replicas_axis(space),
                              tiers_axis(space));
    char *text = sweep ? json_dumps(sweep, JSON_INDENT(2)) : NULL;
    json_decref(sweep);
    return text;
}
