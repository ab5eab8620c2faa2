/*
 * provenance.h - where the hardware profile's figures come from: no simulated number without it.
 */
#ifndef KVS_PROVENANCE_H
#define KVS_PROVENANCE_H

#include "model/hardware.h"

#include <jansson.h>

struct kvs_provenance {
    uint32_t n[KVS_MEASURED + 1]; /* figures by enum kvs_source */
    uint32_t n_all;
};

struct kvs_provenance kvs_provenance(const struct kvs_hw *hw);
/* Counts by source, and each figure of GPU, links and tiers with value, source and reference. NULL:
 * no memory. */
json_t *kvs_provenance_json(const struct kvs_hw *hw);

#endif
