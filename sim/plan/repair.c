#include "repair.h"

#include "levels.h"

#include <math.h>
#include <string.h>

#define UNKNOWN_NATS 1000

/* Dense where curves of published methods are steep. */
static const double any_share[KVS_REPAIR_SHARES] = {0, .03, .05, .08, .12, .15, .2, .3};
/* From CacheBlend's least share on, to all of it: its first layers. */
static const double blend_share[KVS_REPAIR_SHARES] = {0, .15, .2, .27, .4, .6, .8, 1};

const char *kvs_repair_method(const struct kvs_planner_ops *planner, const char *named)
{
    return planner && planner->repairs ? planner->repairs : named;
}

bool kvs_repair_menu_of(const struct kvs_quality *quality, const struct kvs_planner_ops *planner,
                        const char *named, struct kvs_repair_menu *menu)
{
    const char *method = kvs_repair_method(planner, named);
    bool shares = planner && planner->repairs && !planner->repair_tok;
    bool known = quality && method && !isinf(kvs_quality_repair_nats(quality, method, 0));

    menu->first_tok = planner ? planner->repair_tok : 0;
    memcpy(menu->frac, shares ? blend_share : any_share, sizeof menu->frac);
    for (uint32_t i = 0; i < KVS_REPAIR_SHARES; i++) {
        double nats = known               ? kvs_quality_repair_nats(quality, method, menu->frac[i])
                      : menu->frac[i] < 1 ? UNKNOWN_NATS
                                          : 0;

        menu->distortion[i] = llround(nats * KVS_NAT);
    }
    return known;
}

struct kvs_table_repair kvs_repair_table(const struct kvs_repair_menu *menu)
{
    return (struct kvs_table_repair){.n = KVS_REPAIR_SHARES,
                                     .frac = menu->frac,
                                     .distortion = menu->distortion,
                                     .first_tok = menu->first_tok};
}
