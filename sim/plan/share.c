#include "share.h"

#include <math.h>
#include <string.h>

/* The rate that a link has for each of its routes not fixed yet: equal, but for those that need
 * less. */
static double link_level(const struct kvs_tables_config *config, const struct kvs_hop_use *hops,
                         const struct kvs_hw_link *link, const double speed[], const bool fixed[])
{
    bool out[KVS_MAX_ROUTE];
    double level = HUGE_VAL;

    memcpy(out, fixed, sizeof out);
    for (uint32_t round = 0; round <= config->n_route; round++) {
        double left = 1, s_per_byte = 0;
        bool more = false;

        for (uint32_t k = 0; k < config->n_route; k++)
            for (uint32_t h = 0; h < config->route[k].n_hop && hops->rate[k] > 0; h++) {
                if (config->route[k].hop[h].link != link)
                    continue;
                if (out[k])
                    left -= speed[k] * hops->use[k][h];
                else
                    s_per_byte += hops->use[k][h] / hops->rate[k];
            }
        level = s_per_byte > 0 ? fmax(left, 0) / s_per_byte : HUGE_VAL;
        for (uint32_t k = 0; k < config->n_route; k++)
            if (!out[k] && hops->rate[k] <= level)
                out[k] = more = true; /* at its own speed, which is 1 */
        if (!more)
            break;
    }
    return level;
}

static double link_use(const struct kvs_tables_config *config, const struct kvs_hop_use *hops,
                       const struct kvs_hw_link *link, const double speed[])
{
    double use = 0;

    for (uint32_t k = 0; k < config->n_route; k++)
        for (uint32_t h = 0; h < config->route[k].n_hop; h++)
            if (config->route[k].hop[h].link == link)
                use += speed[k] * hops->use[k][h];
    return use;
}

void kvs_share_hops(const struct kvs_tables_config *config, const struct kvs_hop_use *hops,
                    double speed[])
{
    bool fixed[KVS_MAX_ROUTE] = {false};

    for (uint32_t k = 0; k < config->n_route; k++)
        speed[k] = 1;
    for (uint32_t round = 0; round < config->n_route; round++) {
        const struct kvs_hw_link *full = NULL;
        double least = HUGE_VAL;

        for (uint32_t k = 0; k < config->n_route; k++)
            for (uint32_t h = 0; h < config->route[k].n_hop && hops->rate[k] > 0; h++) {
                const struct kvs_hw_link *link = config->route[k].hop[h].link;
                double level;

                if (link_use(config, hops, link, speed) <= 1 + 1e-12)
                    continue;
                level = link_level(config, hops, link, speed, fixed);
                if (level < least) {
                    least = level;
                    full = link;
                }
            }
        if (!full)
            return;
        for (uint32_t k = 0; k < config->n_route; k++)
            for (uint32_t h = 0; h < config->route[k].n_hop && hops->rate[k] > 0; h++)
                if (config->route[k].hop[h].link == full && !fixed[k]) {
                    speed[k] = fmin(1, least / hops->rate[k]);
                    fixed[k] = true;
                }
    }
}
