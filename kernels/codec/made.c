#include "made.h"

#include "base/rng.h"
#include "half.h"

#include <math.h>
#include <stdlib.h>

uint16_t *kvs_kvf_made(uint64_t seed, uint32_t n_tok, uint32_t n_chan, double rho,
                       enum kvs_half half)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "codec_made");
    uint16_t *x = malloc((size_t)n_tok * n_chan * sizeof *x);

    for (uint32_t c = 0; x && c < n_chan; c++) {
        double sigma = kvs_rng_lognormal(&rng, 0, .5), mean = 1.5 * sigma * kvs_rng_normal(&rng);
        if (kvs_rng_unit(&rng) < .03)
            sigma *= 8 + 6 * kvs_rng_unit(&rng);
        double at = kvs_rng_normal(&rng);
        for (uint32_t t = 0; t < n_tok; t++) {
            x[(size_t)t * n_chan + c] = kvs_half_of((float)(mean + sigma * at), half);
            at = rho * at + sqrt(1 - rho * rho) * kvs_rng_normal(&rng);
        }
    }
    return x;
}
