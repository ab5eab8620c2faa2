/*
 * hw_set.h - what-ifs on a hardware profile: figures replaced before the profile is read.
 *
 * A path names a figure by the names that stand in the profile: "links.nvme.read_bytes_per_s",
 * "tiers.dram.capacity_bytes", "gpu.memory_bytes", "gpus_per_host". A figure that was set is an
 * assumption of whoever set it, whatever its source was before.
 */
#ifndef KVS_HW_SET_H
#define KVS_HW_SET_H

#include "base/json.h"

/*
 * Sets each "path": value of the object sets in the profile's document. Values are SI numbers, or
 * text with a unit ("14GB/s", "8TiB", "80us"). An unknown path fails at its place in sets, with the
 * nearest known name.
 */
KVS_MUST_CHECK enum kvs_code kvs_hw_set(struct kvs_doc *profile, struct kvs_json sets,
                                        struct kvs_err *err);

#endif
