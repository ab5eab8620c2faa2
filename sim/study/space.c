#include "space.h"

#include "base/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *const kvs_dim_name[KVS_N_DIM] = {"replicas", "tp",  "dram",  "drives",   "gpu",
                                             "drive",    "nic", "level", "placement"};

uint64_t kvs_space_n(const struct kvs_space *space)
{
    uint64_t n = 1;
    for (int d = 0; d < KVS_N_DIM; d++)
        n *= space->n[d];
    return n;
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

uint64_t kvs_space_value(const struct kvs_space *space, struct kvs_choice choice, enum kvs_dim dim)
{
    return space->choice[dim][choice.i[dim]];
}

const struct kvs_priced_gpu *kvs_space_gpu(const struct kvs_space *space, struct kvs_choice choice)
{
    return &space->prices->gpu[kvs_space_value(space, choice, KVS_DIM_GPU)];
}

const struct kvs_priced_drive *kvs_space_drive(const struct kvs_space *space,
                                               struct kvs_choice choice)
{
    return &space->prices->drive[kvs_space_value(space, choice, KVS_DIM_DRIVE)];
}

/* NULL: the profile's. */
static const struct kvs_priced_nic *nic_of(const struct kvs_space *space, struct kvs_choice choice)
{
    const uint64_t i = kvs_space_value(space, choice, KVS_DIM_NIC);
    return i == KVS_AS_IT_IS ? NULL : &space->prices->nic[i];
}

/* --- what there is of everything ---------------------------------------------------------------
 */

struct stock {
    uint64_t gpus, hosts;
    double dram_gib, drive_bytes; /* of one host */
    double free_gib, free_bytes;  /* of these, what comes with its GPUs */
};

static struct stock stock_of(const struct kvs_space *space, struct kvs_choice choice)
{
    const struct kvs_priced_gpu *gpu = kvs_space_gpu(space, choice);
    struct stock stock = {.gpus = kvs_space_value(space, choice, KVS_DIM_REPLICAS) *
                                  kvs_space_value(space, choice, KVS_DIM_TP)};
    stock.hosts = (stock.gpus + gpu->gpus_per_host - 1) / gpu->gpus_per_host;
    stock.dram_gib = (double)kvs_space_value(space, choice, KVS_DIM_DRAM) / 0x1p30;
    stock.drive_bytes = (double)kvs_space_value(space, choice, KVS_DIM_DRIVES) *
                        kvs_space_drive(space, choice)->bytes;
    /* all hosts are alike, so what is free is what the last one's GPUs bring */
    const uint64_t least = stock.gpus - (stock.hosts - 1) * gpu->gpus_per_host;
    stock.free_gib = (double)least * gpu->with_dram_gib;
    stock.free_bytes = (double)least * gpu->with_drive_bytes;
    return stock;
}

bool kvs_space_offered(const struct kvs_space *space, struct kvs_choice choice)
{
    const struct stock stock = stock_of(space, choice);
    if (stock.drive_bytes <= 0 && (choice.i[KVS_DIM_DRIVE] > 0 || choice.i[KVS_DIM_LEVEL] > 0 ||
                                   choice.i[KVS_DIM_PLACEMENT] > 0))
        return false;
    return (stock.dram_gib <= stock.free_gib || space->prices->dram_gib > 0) &&
           (stock.drive_bytes <= stock.free_bytes || kvs_space_drive(space, choice)->price > 0);
}

struct kvs_cost_hour kvs_space_cost(const struct kvs_space *space, struct kvs_choice choice)
{
    const struct kvs_prices *prices = space->prices;
    const struct kvs_priced_gpu *gpu = kvs_space_gpu(space, choice);
    const struct kvs_priced_drive *drive = kvs_space_drive(space, choice);
    const struct kvs_priced_nic *nic = nic_of(space, choice);
    const struct stock stock = stock_of(space, choice);
    const double hours = prices->years * KVS_HOURS_A_YEAR, gpus = (double)stock.gpus,
                 hosts = (double)stock.hosts;
    const double gib = hosts * fmax(0, stock.dram_gib - stock.free_gib),
                 bytes = hosts * fmax(0, stock.drive_bytes - stock.free_bytes);
    const double bought = gpus * gpu->price, dram = gib * prices->dram_gib,
                 drives = ceil(bytes / drive->bytes) * drive->price,
                 nics = nic ? gpus * nic->price : 0;
    struct kvs_cost_hour cost = {.hosts = (uint32_t)stock.hosts};
    cost.invest = bought + dram + drives + nics;
    cost.gpu = gpus * gpu->rent;
    if (hours > 0) {
        cost.gpu += bought / hours;
        cost.dram = dram / hours;
        cost.drives = drives / hours;
        cost.nic = nics / hours;
    }
    cost.power = gpus * gpu->power_w / 1000 * prices->kwh * prices->pue;
    cost.all = cost.gpu + cost.dram + cost.drives + cost.nic + cost.power;
    return cost;
}

/* --- larger and smaller ------------------------------------------------------------------------
 */

/* What drives of a host give; all 0 without any. */
static void drive_rates(const struct kvs_space *space, struct kvs_choice choice, double rate[4])
{
    const struct kvs_priced_drive *drive = kvs_space_drive(space, choice);
    const double n = (double)kvs_space_value(space, choice, KVS_DIM_DRIVES);
    rate[0] = n * drive->bytes;
    rate[1] = n * drive->delivered * drive->read;
    rate[2] = n * drive->delivered * drive->write;
    rate[3] = n * drive->iops;
}

static bool drives_no_larger(const struct kvs_space *space, struct kvs_choice a,
                             struct kvs_choice b)
{
    double x[4], y[4];
    drive_rates(space, a, x);
    drive_rates(space, b, y);
    for (int i = 0; i < 4; i++)
        if (x[i] > y[i])
            return false;
    return true;
}

bool kvs_space_no_larger(const struct kvs_space *space, struct kvs_choice a, struct kvs_choice b)
{
    const struct kvs_priced_nic *nic_a = nic_of(space, a), *nic_b = nic_of(space, b);
    const bool drives = kvs_space_value(space, a, KVS_DIM_DRIVES) > 0;
    if (a.i[KVS_DIM_GPU] != b.i[KVS_DIM_GPU] || a.i[KVS_DIM_TP] != b.i[KVS_DIM_TP])
        return false;
    if (drives && (a.i[KVS_DIM_LEVEL] != b.i[KVS_DIM_LEVEL] ||
                   a.i[KVS_DIM_PLACEMENT] != b.i[KVS_DIM_PLACEMENT]))
        return false;
    return a.i[KVS_DIM_REPLICAS] <= b.i[KVS_DIM_REPLICAS] &&
           a.i[KVS_DIM_DRAM] <= b.i[KVS_DIM_DRAM] && drives_no_larger(space, a, b) &&
           (nic_a == nic_b || (nic_a && nic_b && nic_a->bytes_per_s <= nic_b->bytes_per_s));
}

struct kvs_choice kvs_space_ceiling(const struct kvs_space *space, struct kvs_choice choice)
{
    static const enum kvs_dim up[] = {KVS_DIM_NIC, KVS_DIM_DRAM, KVS_DIM_DRIVES, KVS_DIM_DRIVE};
    for (size_t k = 0; k < sizeof up / sizeof *up; k++)
        for (uint32_t i = 0; i < space->n[up[k]]; i++) {
            struct kvs_choice other = choice;
            other.i[up[k]] = i;
            if (kvs_space_offered(space, other) && kvs_space_no_larger(space, choice, other))
                choice = other;
        }
    return choice;
}

uint32_t kvs_space_neighbours(const struct kvs_space *space, uint64_t number,
                              uint64_t neighbour[KVS_MAX_NEIGHBOUR])
{
    const struct kvs_choice own = kvs_space_at(space, number);
    uint32_t n = 0;
    for (int d = 0; d < KVS_N_DIM; d++)
        for (uint32_t i = 0; i < space->n[d]; i++) {
            struct kvs_choice other = own;
            if (i == own.i[d] || (d < KVS_DIM_ORDERED && i + 1 != own.i[d] && i != own.i[d] + 1))
                continue;
            other.i[d] = i;
            if (d == KVS_DIM_DRIVES && space->choice[d][i] == 0) /* nothing to choose of them */
                other.i[KVS_DIM_DRIVE] = other.i[KVS_DIM_LEVEL] = other.i[KVS_DIM_PLACEMENT] = 0;
            if (kvs_space_offered(space, other))
                neighbour[n++] = kvs_space_number(space, other);
        }
    return n;
}

/* --- in words ----------------------------------------------------------------------------------
 */

__attribute__((format(printf, 2, 3))) static void add(char text[KVS_CHOICE_TEXT], const char *form,
                                                      ...)
{
    const size_t n = strlen(text);
    va_list args;
    va_start(args, form);
    vsnprintf(text + n, KVS_CHOICE_TEXT - n, form, args);
    va_end(args);
}

char *kvs_space_text(const struct kvs_space *space, struct kvs_choice choice,
                     char text[KVS_CHOICE_TEXT])
{
    const uint64_t dram = kvs_space_value(space, choice, KVS_DIM_DRAM),
                   drives = kvs_space_value(space, choice, KVS_DIM_DRIVES);
    const struct kvs_priced_nic *nic = nic_of(space, choice);
    const uint32_t hosts = kvs_space_cost(space, choice).hosts;
    char bytes[KVS_TEXT_MAX];
    text[0] = '\0';
    add(text, "%" PRIu64 " x %" PRIu64 " %s, %u host%s",
        kvs_space_value(space, choice, KVS_DIM_REPLICAS),
        kvs_space_value(space, choice, KVS_DIM_TP), kvs_space_gpu(space, choice)->hardware, hosts,
        hosts == 1 ? "" : "s");
    if (dram)
        add(text, ", %s DRAM", kvs_text_bytes(bytes, (double)dram));
    if (drives) {
        add(text, ", %" PRIu64 " x %s", drives, kvs_space_drive(space, choice)->name);
        if (space->n[KVS_DIM_LEVEL] > 1)
            add(text, " %s", space->name[KVS_DIM_LEVEL][choice.i[KVS_DIM_LEVEL]]);
        if (space->n[KVS_DIM_PLACEMENT] > 1)
            add(text, " %s", space->name[KVS_DIM_PLACEMENT][choice.i[KVS_DIM_PLACEMENT]]);
    }
    if (nic)
        add(text, ", %s", nic->name);
    return text;
}

/* --- as a sweep --------------------------------------------------------------------------------
 */

/* A tier of the workload (NULL: one with defaults) at another capacity. */
static json_t *tier(const json_t *base, const char *name, double bytes)
{
    json_t *own = base ? json_deep_copy(base) : json_pack("{s:s}", "name", name);
    json_object_set_new(own, "capacity", json_integer((json_int_t)bytes));
    return own;
}

static void set_rates(json_t *set, const char *link, double read, double write)
{
    char path[64];
    snprintf(path, sizeof path, "hardware_set[\"links.%s.read_bytes_per_s\"]", link);
    json_object_set_new(set, path, json_real(read));
    snprintf(path, sizeof path, "hardware_set[\"links.%s.write_bytes_per_s\"]", link);
    json_object_set_new(set, path, json_real(write));
}

static json_t *drive_tier(const struct kvs_space *space, struct kvs_choice choice)
{
    static const struct {
        enum kvs_dim dim;
        const char *key;
    } named[] = {{KVS_DIM_LEVEL, "level"}, {KVS_DIM_PLACEMENT, "placement"}};
    double rate[4];
    drive_rates(space, choice, rate);
    json_t *own = tier(space->tier[1], "nvme", rate[0]);
    for (int i = 0; i < 2; i++)
        if (kvs_space_value(space, choice, named[i].dim) != KVS_AS_IT_IS)
            json_object_set_new(own, named[i].key,
                                json_string(space->name[named[i].dim][choice.i[named[i].dim]]));
    return own;
}

/* All settings of one configuration, by path. */
static json_t *settings(const struct kvs_space *space, struct kvs_choice choice)
{
    const uint64_t dram = kvs_space_value(space, choice, KVS_DIM_DRAM);
    const struct kvs_priced_nic *nic = nic_of(space, choice);
    json_t *tiers = json_array();
    json_t *set =
        json_pack("{s:s, s:I, s:I}", "hardware", kvs_space_gpu(space, choice)->hardware,
                  "cluster.replicas", (json_int_t)kvs_space_value(space, choice, KVS_DIM_REPLICAS),
                  "cluster.tp", (json_int_t)kvs_space_value(space, choice, KVS_DIM_TP));
    if (dram)
        json_array_append_new(tiers, tier(space->tier[0], "dram", (double)dram));
    if (kvs_space_value(space, choice, KVS_DIM_DRIVES)) {
        double rate[4];
        drive_rates(space, choice, rate);
        json_array_append_new(tiers, drive_tier(space, choice));
        set_rates(set, "nvme", rate[1], rate[2]);
        json_object_set_new(set, "hardware_set[\"links.nvme.descriptor_s\"]",
                            json_real(1 / rate[3]));
    }
    if (nic)
        set_rates(set, "nic", nic->bytes_per_s, nic->bytes_per_s);
    json_object_set_new(set, "tiers", tiers);
    return set;
}

char *kvs_space_sweep(const struct kvs_space *space, const char *workload)
{
    json_t *choices = json_array();
    for (uint64_t i = 0; i < kvs_space_n(space); i++) {
        const struct kvs_choice choice = kvs_space_at(space, i);
        char name[24];
        snprintf(name, sizeof name, "%" PRIu64, i);
        json_array_append_new(
            choices, json_pack("{s:s, s:o}", "name", name, "set", settings(space, choice)));
    }
    json_t *sweep = json_pack("{s:s, s:[{s:s, s:o}]}", "workload", workload, "axes", "name",
                              "configuration", "choices", choices);
    char *text = sweep ? json_dumps(sweep, 0) : NULL;
    json_decref(sweep);
    return text;
}
