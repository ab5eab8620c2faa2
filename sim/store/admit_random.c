/*
 * A share of the offers is taken at random: blocks that come often get in, most others do not, and
 * nothing is remembered (CacheLib's reject-random; Berg et al. 2020).
 */
#include "admit.h"

#include "base/rng.h"

struct random {
    struct kvs_rng rng;
    double share;
};

static bool random_init(void *state, const struct kvs_admit_config *config)
{
    struct random *random = state;
    random->rng = kvs_rng_stream(config->seed, "admit");
    random->share = config->share;
    return true;
}

static bool random_wants(void *state, uint64_t key)
{
    struct random *random = state;
    (void)key;
    return kvs_rng_unit(&random->rng) < random->share;
}

extern const struct kvs_admit_ops kvs_admit_random;
const struct kvs_admit_ops kvs_admit_random = {
    .name = "random",
    .help = "a share of the offers, at random (admit_share)",
    .state_bytes = sizeof(struct random),
    .init = random_init,
    .wants = random_wants,
};
