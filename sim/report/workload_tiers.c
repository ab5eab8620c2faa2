#include "workload_in.h"

#include "base/units.h"
#include "plan/levels.h"
#include "store/admit.h"
#include "store/evict.h"
#include "store/ring.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* what the table of a tier gives where admit has no use for it */
#define ADMIT_N 2
#define ADMIT_SHARE 0.1

static const char *const write_names[] = {"through", "back", "exclusive",
                                          NULL}; /* by enum kvs_write */

static const char *const placement_names[] = {"local", "hashed", "cache-aware",
                                              NULL}; /* by enum kvs_placement */

#define TIER(field) offsetof(struct kvs_wl_tier, field)
static const struct kvs_opt tier_table[] = {
    {"name", KVS_OPT_STR, TIER(name), NULL, 0, 0, "a tier of the hardware profile", NULL, true, 0},
    {"capacity", KVS_OPT_BYTES, TIER(capacity), "0", 0, 0x1p63,
     "bytes of one such tier; default: the profile's", NULL, false, 0},
    {"level", KVS_OPT_STR, TIER(level), KVS_CODEC_RAW, 0, 0,
     "compression level that blocks are stored at: of planner.codec, \"p4\" or \"p8/p4\" for K/V; "
     "or "
     "\"hidden\" states in place of K and V",
     NULL, false, 0},
    {"states", KVS_OPT_NODE, TIER(states), NULL, 0, 0,
     "layers whose incoming hidden states are stored too: a plan may compute from there on", NULL,
     false, 0},
    {"evict", KVS_OPT_STR, TIER(evict), "lru", 0, 0, "which block leaves first", NULL, false, 0},
    {"write", KVS_OPT_ENUM, TIER(write), "through", 0, 0,
     "blocks come after prefill (through), or when the nearer place evicts them (back); exclusive: "
     "so, and leave when loaded",
     write_names, false, 0},
    {"admit", KVS_OPT_STR, TIER(admit), "always", 0, 0, "which of them are stored", NULL, false, 0},
    {"admit_n", KVS_OPT_U64, TIER(admit_n), "2", 1, 1000,
     "admit touched: stored when offered so often", NULL, false, 0},
    {"admit_share", KVS_OPT_DOUBLE, TIER(admit_share), "0.1", 0, 1,
     "admit random: share of the offers that is taken", NULL, false, 0},
    {"placement", KVS_OPT_ENUM, TIER(placement), "local", 0, 0,
     "a host's tier is its own (local), or all hosts see each other's: blocks go where a hash ring "
     "says (hashed), or to the host that computed them (cache-aware)",
     placement_names, false, 0},
    {"replicas", KVS_OPT_U64, TIER(replicas), "1", 1, KVS_RING_MAX_NODE,
     "placement other than local: copies of a block, each on another host; at most the hosts there "
     "are",
     NULL, false, 0},
    {"hot_reads", KVS_OPT_U64, TIER(hot_reads), "0", 0, 1000000,
     "placement hashed: a block read from other hosts so often gets a copy more; 0: none does",
     NULL, false, 0},
    {"network", KVS_OPT_STR, TIER(network), KVS_WL_NETWORK, 0, 0,
     "placement other than local: the profile's link between hosts", NULL, false, 0},
    {"nodes_lost", KVS_OPT_NODE, TIER(nodes_lost), NULL, 0, 0,
     "placement other than local: hosts that are away, with what they held", NULL, false, 0},
};

struct lost {
    uint64_t host;
    double from_s, to_s;
};

static const struct kvs_opt lost_table[] = {
    {"host", KVS_OPT_U64, offsetof(struct lost, host), NULL, 0, 4096,
     "which, from 0 in the order in which replicas fill them", NULL, true, 0},
    {"from", KVS_OPT_TIME, offsetof(struct lost, from_s), NULL, 0, 1e9, "it goes", NULL, true, 0},
    {"to", KVS_OPT_TIME, offsetof(struct lost, to_s), NULL, 0, 1e9, "it is back, empty", NULL, true,
     0},
};

static const struct kvs_hw_tier *find_tier(const struct kvs_hw *hw, const char *name)
{
    for (uint32_t i = 0; i < hw->n_tier; i++)
        if (strcmp(hw->tier[i].name, name) == 0)
            return &hw->tier[i];
    return NULL;
}

/* Tier names become columns of CSV files and tracks of the timeline. */
static bool is_plain(const char *name)
{
    return *name && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                 "0123456789._-") == strlen(name);
}

/* What a tier takes in, and when. */
static enum kvs_code read_taking(struct kvs_json node, const struct kvs_wl_tier *tier,
                                 uint64_t seed, struct kvs_tier_config *config, struct kvs_err *err)
{
    const char *names[KVS_WL_N_NAME];
    uint32_t n = 0;
    for (; kvs_admit_all[n] && n < KVS_WL_N_NAME; n++)
        names[n] = kvs_admit_all[n]->name;
    config->write = (enum kvs_write)tier->write;
    config->admit = kvs_admit_find(tier->admit);
    config->admit_config =
        (struct kvs_admit_config){(uint32_t)tier->admit_n, tier->admit_share, seed};
    if (!config->admit)
        return kvs_wl_unknown(kvs_json_get(node, "admit"), err, tier->admit, names, n);
    if (tier->admit_n != ADMIT_N && strcmp(tier->admit, "touched") != 0)
        return kvs_json_fail(kvs_json_get(node, "admit_n"), err, KVS_ERR_ARG,
                             "found %llu, want none without admit \"touched\"",
                             (unsigned long long)tier->admit_n);
    if (tier->admit_share != ADMIT_SHARE && strcmp(tier->admit, "random") != 0)
        return kvs_json_fail(kvs_json_get(node, "admit_share"), err, KVS_ERR_ARG,
                             "found %g, want none without admit \"random\"", tier->admit_share);
    if (config->admit == kvs_admit_all[0])
        config->admit = NULL; /* nothing to ask */
    return KVS_OK;
}

static enum kvs_code read_lost(struct kvs_json node, struct kvs_tier_config *config,
                               struct kvs_err *err)
{
    const size_t n = kvs_json_size(node);
    enum kvs_code code = node.v ? kvs_json_array(node, err) : KVS_OK;
    if (!code && n > KVS_MAX_OUTAGE)
        return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu entries, want at most %d", n,
                             KVS_MAX_OUTAGE);
    for (size_t i = 0; i < n && !code; i++) {
        const struct kvs_json one = kvs_json_at(node, i);
        struct lost lost;
        if ((code = kvs_json_object(one, err)) ||
            (code = kvs_opt_json(lost_table, N(lost_table), one, &lost, err)))
            break;
        if (lost.to_s <= lost.from_s)
            return kvs_json_fail(kvs_json_get(one, "to"), err, KVS_ERR_RANGE,
                                 "found %g s, want a time after \"from\", %g s", lost.to_s,
                                 lost.from_s);
        config->outage[config->n_outage++] =
            (struct kvs_outage){(uint32_t)lost.host, kvs_ns(lost.from_s), kvs_ns(lost.to_s)};
    }
    return code;
}

/* Where a tier's blocks go. */
static enum kvs_code read_placement(const struct kvs_workload_in *in, struct kvs_json node,
                                    const struct kvs_wl_tier *tier, struct kvs_tier_config *config,
                                    struct kvs_err *err)
{
    static const char *const keys[] = {"replicas", "hot_reads", "network", "nodes_lost"};
    config->placement = (enum kvs_placement)tier->placement;
    config->n_copy = (uint32_t)tier->replicas;
    config->hot_reads = (uint32_t)tier->hot_reads;
    if (config->placement == KVS_PLACE_LOCAL) {
        const bool set[] = {tier->replicas != 1, tier->hot_reads > 0, false,
                            kvs_json_size(tier->nodes_lost) > 0};
        for (unsigned i = 0; i < N(keys); i++)
            if (set[i])
                return kvs_json_fail(kvs_json_get(node, keys[i]), err, KVS_ERR_ARG,
                                     "has no meaning with placement \"local\"; want "
                                     "\"placement\": \"hashed\" or \"cache-aware\"");
        return strcmp(tier->network, KVS_WL_NETWORK) == 0
                   ? KVS_OK
                   : kvs_wl_link(kvs_json_get(node, "network"), in->hw, tier->network,
                                 &config->network, err);
    }
    if (tier->hot_reads && config->placement != KVS_PLACE_HASHED)
        return kvs_json_fail(kvs_json_get(node, "hot_reads"), err, KVS_ERR_ARG,
                             "has no meaning with placement \"cache-aware\", which keeps a copy "
                             "wherever a block is computed; want 0");
    enum kvs_code code =
        kvs_wl_link(kvs_json_get(node, "network"), in->hw, tier->network, &config->network, err);
    return code ? code : read_lost(tier->nodes_lost, config, err);
}

/* The layers whose incoming hidden states a tier keeps: the same in all tiers that keep any. */
static enum kvs_code read_states(struct kvs_workload_in *in, struct kvs_json node,
                                 const struct kvs_sim_config *sim, struct kvs_tier_config *config,
                                 struct kvs_err *err)
{
    const size_t n = kvs_json_size(node);
    const int64_t n_layer = kvs_model_n_layer(in->model);
    uint8_t state_at[KVS_MAX_LAYER] = {0};
    enum kvs_code code = node.v ? kvs_json_array(node, err) : KVS_OK;
    for (size_t i = 0; i < n && !code; i++) {
        int64_t l = 1;
        code = kvs_json_i64(kvs_json_at(node, i), 1, n_layer - 1, &l, err);
        if (!code && state_at[l])
            code = kvs_json_fail(kvs_json_at(node, i), err, KVS_ERR_ARG,
                                 "found %" PRId64 " twice, want a layer once", l);
        state_at[l] = 1;
    }
    if (code || !n)
        return code;
    if (config->write != KVS_WRITE_THROUGH)
        return kvs_json_fail(
            node, err, KVS_ERR_ARG,
            "has no meaning with write \"%s\", which stores what HBM evicts, and HBM "
            "keeps no hidden states; want \"write\": \"through\"",
            write_names[config->write]);
    for (uint32_t t = 0; t < sim->n_tier; t++)
        if (sim->tier[t].states && memcmp(state_at, in->state_at, sizeof state_at) != 0)
            return kvs_json_fail(node, err, KVS_ERR_ARG,
                                 "found other layers than tiers[%u].states; want the same in all "
                                 "tiers that store any",
                                 t);
    memcpy(in->state_at, state_at, sizeof state_at);
    config->states = true;
    return KVS_OK;
}

static enum kvs_code read_tier(struct kvs_workload_in *in, struct kvs_json node,
                               struct kvs_sim_config *sim, struct kvs_err *err)
{
    struct kvs_wl_tier *tier = &in->tier[sim->n_tier];
    struct kvs_tier_config *config = &sim->tier[sim->n_tier];
    const struct kvs_json name = kvs_json_get(node, "name");
    const struct kvs_json capacity = kvs_json_get(node, "capacity");
    enum kvs_code code = kvs_json_object(node, err);
    if (code || (code = kvs_opt_json(tier_table, N(tier_table), node, tier, err)))
        return code;
    const struct kvs_hw_tier *hw_tier = find_tier(in->hw, tier->name);
    if (!hw_tier) {
        const char *names[KVS_MAX_LINK];
        for (uint32_t i = 0; i < in->hw->n_tier; i++)
            names[i] = in->hw->tier[i].name;
        return kvs_wl_unknown(name, err, tier->name, names, in->hw->n_tier);
    }
    if (!is_plain(tier->name))
        return kvs_json_fail(name, err, KVS_ERR_ARG,
                             "found \"%s\", want a name of letters, digits, '.', '_' and '-'",
                             tier->name);
    for (uint32_t i = 0; i < sim->n_tier; i++)
        if (strcmp(sim->tier[i].name, tier->name) == 0)
            return kvs_json_fail(name, err, KVS_ERR_ARG,
                                 "found \"%s\" a second time, want a tier "
                                 "once",
                                 tier->name);
    if (sim->n_tier && hw_tier < find_tier(in->hw, sim->tier[sim->n_tier - 1].name))
        return kvs_json_fail(name, err, KVS_ERR_ARG,
                             "found \"%s\" behind \"%s\", want the nearest tier first, as the "
                             "profile %s has them",
                             tier->name, sim->tier[sim->n_tier - 1].name, in->hw->name);
    if (capacity.v && tier->capacity == 0)
        return kvs_json_fail(capacity, err, KVS_ERR_RANGE,
                             "found 0, want at least 1 byte; leave the tier out to be without it");
    if (!capacity.v)
        tier->capacity = hw_tier->capacity_bytes;
    if (tier->capacity == 0)
        return kvs_json_fail(capacity, err, KVS_ERR_ARG,
                             "missing; want bytes like \"4TiB\": "
                             "the profile %s states none for %s",
                             in->hw->name, tier->name);
    config->name = hw_tier->name;
    config->capacity_bytes = tier->capacity;
    if ((code = read_taking(node, tier, in->top.seed, config, err)) ||
        (code = read_placement(in, node, tier, config, err)) ||
        (code = read_states(in, tier->states, sim, config, err)))
        return code;
    if (config->states)
        sim->state_at = in->state_at;
    sim->n_tier++;
    return kvs_wl_evict(kvs_json_get(node, "evict"), tier->evict, &config->evict, err);
}

/* Without a list: every tier whose size the profile states, as the machine has them. */
static void take_all_tiers(struct kvs_workload_in *in, struct kvs_sim_config *sim)
{
    for (uint32_t i = 0; i < in->hw->n_tier && sim->n_tier < KVS_MAX_TIER; i++) {
        const struct kvs_hw_tier *hw_tier = &in->hw->tier[i];
        if (hw_tier->capacity_bytes == 0 || !is_plain(hw_tier->name))
            continue;
        in->tier[sim->n_tier] = (struct kvs_wl_tier){.name = hw_tier->name,
                                                     .level = KVS_CODEC_RAW,
                                                     .evict = "lru",
                                                     .admit = "always",
                                                     .capacity = hw_tier->capacity_bytes,
                                                     .admit_n = ADMIT_N,
                                                     .admit_share = ADMIT_SHARE,
                                                     .replicas = 1,
                                                     .network = KVS_WL_NETWORK};
        sim->tier[sim->n_tier++] = (struct kvs_tier_config){
            .name = hw_tier->name, .capacity_bytes = hw_tier->capacity_bytes};
        enum kvs_code code = kvs_evict_find("lru", &sim->tier[sim->n_tier - 1].evict, NULL);
        assert(code == KVS_OK);
        (void)code;
    }
}

enum kvs_code kvs_wl_read_tiers(struct kvs_workload_in *in, struct kvs_sim_config *sim,
                                struct kvs_err *err)
{
    const struct kvs_json node = in->top.tiers;
    enum kvs_code code = node.v ? kvs_json_array(node, err) : KVS_OK;
    if (!code && kvs_json_size(node) > KVS_MAX_TIER)
        return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu tiers, want at most %d",
                             kvs_json_size(node), KVS_MAX_TIER);
    for (size_t i = 0; i < kvs_json_size(node) && !code; i++)
        code = read_tier(in, kvs_json_at(node, i), sim, err);
    if (!node.v)
        take_all_tiers(in, sim);
    return code;
}

json_t *kvs_wl_record_tier(const struct kvs_workload *w, uint32_t i)
{
    const struct kvs_wl_tier *in = &w->in->tier[i];
    json_t *tier = kvs_opt_record(tier_table, N(tier_table), in);
    if (tier && ((!in->nodes_lost.v && json_object_set_new(tier, "nodes_lost", json_array())) ||
                 (!in->states.v && json_object_set_new(tier, "states", json_array())))) {
        json_decref(tier);
        tier = NULL;
    }
    return tier;
}
