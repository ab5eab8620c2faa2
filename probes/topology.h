/*
 * topology.h - what a machine is made of, by hwloc: NUMA nodes, GPUs, NICs, NVMe, and how far
 * apart.
 *
 * Distances are hops along parents up to the common ancestor and down again, by a walk of our own:
 * hwloc 2.9's common-ancestor call does not survive PCI objects. An unknown link speed is NaN.
 */
#ifndef KVS_PROBES_TOPOLOGY_H
#define KVS_PROBES_TOPOLOGY_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

enum kvs_dev_kind { KVS_DEV_GPU, KVS_DEV_NIC, KVS_DEV_NVME };

struct kvs_dev {
    enum kvs_dev_kind kind;
    char name[24];           /* gpu0, nic0, nvme0: our numbering, in PCI order */
    char os_name[32];        /* "rdmap16s27", "nvme0n1"; "" if the system has no name for it */
    char pci[16];            /* "0000:10:1c.0" */
    char model[64];          /* "" if not known */
    double link_bytes_per_s; /* of the PCIe slot, each way; NaN: unknown */
    int numa;                /* node that its host bridge hangs on; -1: several or none */
    bool rdma;               /* a NIC with an OpenFabrics device */
};

#define KVS_MAX_DEV 256

struct kvs_topology {
    unsigned n_numa, n_core, n_pu, n_package;
    double mem_bytes[64];           /* of each NUMA node */
    unsigned numa_distance[64][64]; /* as the firmware gives it; 0: not given */
    double cache_bytes;             /* the largest last-level cache, 0 if none is known */
    unsigned n_dev;
    struct kvs_dev dev[KVS_MAX_DEV];
    unsigned char hops[KVS_MAX_DEV][KVS_MAX_DEV]; /* between devices */
};

/*
 * Reads this machine (xml_file NULL), an hwloc XML file, or a synthetic description ("pack:2 core:4
 * pu:2", with is_synthetic). The caller frees it with free(). KVS_ERR_PARSE if hwloc does not take
 * the file.
 */
KVS_MUST_CHECK enum kvs_code kvs_topology_read(const char *xml_file, bool is_synthetic,
                                               struct kvs_topology **topology, struct kvs_err *err);

/* The devices of kind nearest to dev, as indices into near (room for KVS_MAX_DEV); how many, and at
 * how many hops. RDMA NICs only, if there is any. */
unsigned kvs_topology_nearest(const struct kvs_topology *topology, unsigned dev,
                              enum kvs_dev_kind kind, unsigned *near, unsigned *hops);

json_t *kvs_topology_json(const struct kvs_topology *topology); /* NULL: no memory */

#endif
