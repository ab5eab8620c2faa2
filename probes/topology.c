#include "topology.h"

#include <hwloc.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {"gpu", "nic", "nvme"};

/* Hops between two objects: up to the lowest common ancestor and down again. */
static unsigned hops_between(hwloc_obj_t a, hwloc_obj_t b)
{
    unsigned up = 0;
    for (hwloc_obj_t x = a; x; x = x->parent, up++) {
        unsigned down = 0;
        for (hwloc_obj_t y = b; y; y = y->parent, down++)
            if (x == y)
                return up + down;
    }
    return 255;
}

/* The first OS device below a PCI device whose type is among mask's bits; NULL: none. */
static hwloc_obj_t os_device(hwloc_obj_t pci, unsigned mask)
{
    for (hwloc_obj_t c = pci->io_first_child; c; c = c->next_sibling)
        if (c->type == HWLOC_OBJ_OS_DEVICE && (unsigned)c->attr->osdev.type < 32 &&
            (mask >> c->attr->osdev.type & 1)) /* exports of hwloc 3 have other numbers */
            return c;
    return NULL;
}

/*
 * What a PCI function is to us; false: nothing. Classes: 03xx display and 12xx accelerators of
 * vendors who make GPUs, 0207 InfiniBand, 02xx network, 0108 NVMe.
 */
static bool kind_of(hwloc_obj_t pci, enum kvs_dev_kind *kind, bool *rdma)
{
    unsigned class_id = pci->attr->pcidev.class_id, vendor = pci->attr->pcidev.vendor_id;
    bool gpu_vendor = vendor == 0x10de || vendor == 0x1002 || vendor == 0x8086;
    *rdma = os_device(pci, 1u << HWLOC_OBJ_OSDEV_OPENFABRICS) != NULL;
    if (((class_id == 0x0302 || (class_id >> 8 == 0x12 && vendor != 0x8086)) && gpu_vendor) ||
        (class_id == 0x0300 && vendor == 0x10de))
        *kind = KVS_DEV_GPU;
    else if (class_id >> 8 == 0x02 || *rdma)
        *kind = KVS_DEV_NIC;
    else if (class_id == 0x0108)
        *kind = KVS_DEV_NVME;
    else
        return false;
    return true;
}

static void name_os(hwloc_obj_t pci, struct kvs_dev *dev)
{
    unsigned masks[] = {1u << HWLOC_OBJ_OSDEV_GPU | 1u << HWLOC_OBJ_OSDEV_COPROC,
                        1u << HWLOC_OBJ_OSDEV_OPENFABRICS, 1u << HWLOC_OBJ_OSDEV_BLOCK};
    hwloc_obj_t os = os_device(pci, masks[dev->kind]);
    if (!os && dev->kind == KVS_DEV_NIC)
        os = os_device(pci, 1u << HWLOC_OBJ_OSDEV_NETWORK);
    const char *model = hwloc_obj_get_info_by_name(pci, "PCIDevice");
    if (!model && os)
        model = hwloc_obj_get_info_by_name(os, "Model");
    snprintf(dev->os_name, sizeof dev->os_name, "%s", os && os->name ? os->name : "");
    snprintf(dev->model, sizeof dev->model, "%s", model ? model : "");
}

static int numa_of(hwloc_topology_t t, hwloc_obj_t pci)
{
    hwloc_obj_t host = hwloc_get_non_io_ancestor_obj(t, pci);
    if (!host || !host->nodeset || hwloc_bitmap_weight(host->nodeset) != 1)
        return -1;
    return hwloc_bitmap_first(host->nodeset);
}

static void read_devices(hwloc_topology_t t, struct kvs_topology *out, hwloc_obj_t *objects)
{
    unsigned count[3] = {0};
    hwloc_obj_t pci = NULL;
    while ((pci = hwloc_get_next_pcidev(t, pci)) && out->n_dev < KVS_MAX_DEV) {
        struct kvs_dev *dev = &out->dev[out->n_dev];
        const struct hwloc_pcidev_attr_s *attr = &pci->attr->pcidev;
        if (!kind_of(pci, &dev->kind, &dev->rdma))
            continue;
        snprintf(dev->name, sizeof dev->name, "%s%u", kind_names[dev->kind], count[dev->kind]++);
        snprintf(dev->pci, sizeof dev->pci, "%04x:%02x:%02x.%01x", attr->domain & 0xffffu,
                 attr->bus, attr->dev, attr->func & 0xfu);
        dev->link_bytes_per_s = attr->linkspeed > 0 ? (double)attr->linkspeed * 1e9 : (double)NAN;
        dev->numa = numa_of(t, pci);
        name_os(pci, dev);
        objects[out->n_dev++] = pci;
    }
    for (unsigned a = 0; a < out->n_dev; a++)
        for (unsigned b = 0; b < out->n_dev; b++)
            out->hops[a][b] = (unsigned char)hops_between(objects[a], objects[b]);
}

static void read_distances(hwloc_topology_t t, struct kvs_topology *out)
{
    struct hwloc_distances_s *d;
    unsigned n = 1;
    if (hwloc_distances_get_by_name(t, "NUMALatency", &n, &d, 0) || n == 0)
        return;
    for (unsigned a = 0; a < d->nbobjs; a++)
        for (unsigned b = 0; b < d->nbobjs; b++)
            if (d->objs[a] && d->objs[b] && d->objs[a]->logical_index < 64 &&
                d->objs[b]->logical_index < 64)
                out->numa_distance[d->objs[a]->logical_index][d->objs[b]->logical_index] =
                    (unsigned)d->values[a * d->nbobjs + b];
    hwloc_distances_release(t, d);
}

static unsigned count_of(hwloc_topology_t t, hwloc_obj_type_t type)
{
    int n = hwloc_get_nbobjs_by_type(t, type);
    return n > 0 ? (unsigned)n : 0;
}

static void read_host(hwloc_topology_t t, struct kvs_topology *out)
{
    static const hwloc_obj_type_t caches[] = {HWLOC_OBJ_L5CACHE, HWLOC_OBJ_L4CACHE,
                                              HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L2CACHE,
                                              HWLOC_OBJ_L1CACHE};
    out->n_package = count_of(t, HWLOC_OBJ_PACKAGE);
    out->n_core = count_of(t, HWLOC_OBJ_CORE);
    out->n_pu = count_of(t, HWLOC_OBJ_PU);
    out->n_numa = count_of(t, HWLOC_OBJ_NUMANODE);
    if (out->n_numa > 64)
        out->n_numa = 64;
    for (unsigned i = 0; i < out->n_numa; i++)
        out->mem_bytes[i] =
            (double)hwloc_get_obj_by_type(t, HWLOC_OBJ_NUMANODE, i)->attr->numanode.local_memory;
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++) {
        hwloc_obj_t cache = hwloc_get_obj_by_type(t, caches[i], 0);
        if (cache) {
            out->cache_bytes = (double)cache->attr->cache.size;
            break;
        }
    }
    read_distances(t, out);
}

enum kvs_code kvs_topology_read(const char *xml_file, bool is_synthetic,
                                struct kvs_topology **topology, struct kvs_err *err)
{
    hwloc_topology_t t = NULL;
    hwloc_obj_t *objects = calloc(KVS_MAX_DEV, sizeof(hwloc_obj_t));
    struct kvs_topology *out = calloc(1, sizeof *out);
    enum kvs_code code = KVS_OK;
    int bad = 0;
    *topology = NULL;
    if (!objects || !out || hwloc_topology_init(&t)) {
        code = kvs_nomem(err);
        goto done;
    }
    hwloc_topology_set_io_types_filter(t, HWLOC_TYPE_FILTER_KEEP_ALL); /* PCI is hidden without */
    if (xml_file)
        bad = is_synthetic ? hwloc_topology_set_synthetic(t, xml_file)
                           : hwloc_topology_set_xml(t, xml_file);
    if (bad || hwloc_topology_load(t)) {
        code = kvs_fail(err, KVS_ERR_PARSE, "%s: hwloc %d.%d cannot read this topology%s",
                        xml_file ? xml_file : "this machine", HWLOC_API_VERSION >> 16,
                        HWLOC_API_VERSION >> 8 & 0xff,
                        xml_file && !is_synthetic ? " (is it hwloc 2.x XML?)" : "");
        goto done;
    }
    read_host(t, out);
    read_devices(t, out, objects);
    *topology = out;
    out = NULL;
done:
    if (t)
        hwloc_topology_destroy(t);
    free(objects);
    free(out);
    return code;
}

unsigned kvs_topology_nearest(const struct kvs_topology *topology, unsigned dev,
                              enum kvs_dev_kind kind, unsigned *near, unsigned *hops)
{
    unsigned n = 0;
    bool any_rdma = false;
    *hops = 255;
    for (unsigned i = 0; i < topology->n_dev; i++)
        any_rdma |= topology->dev[i].rdma;
    for (unsigned i = 0; i < topology->n_dev; i++) {
        const struct kvs_dev *d = &topology->dev[i];
        if (i == dev || d->kind != kind || (kind == KVS_DEV_NIC && any_rdma && !d->rdma))
            continue;
        if (topology->hops[dev][i] < *hops) {
            *hops = topology->hops[dev][i];
            n = 0;
        }
        if (topology->hops[dev][i] == *hops)
            near[n++] = i;
    }
    return n;
}

static json_t *nearest_json(const struct kvs_topology *t, unsigned dev, enum kvs_dev_kind kind)
{
    unsigned near[KVS_MAX_DEV], hops, n = kvs_topology_nearest(t, dev, kind, near, &hops);
    json_t *names = json_array();
    if (n == 0) {
        json_decref(names);
        return json_null();
    }
    for (unsigned i = 0; i < n; i++)
        json_array_append_new(names, json_string(t->dev[near[i]].name));
    return json_pack("{so sI}", "names", names, "hops", (json_int_t)hops);
}

static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *dev_json(const struct kvs_topology *t, unsigned i)
{
    const struct kvs_dev *d = &t->dev[i];
    json_t *json =
        json_pack("{ss ss so ss so so so}", "name", d->name, "kind", kind_names[d->kind], "os_name",
                  text_or_null(d->os_name), "pci", d->pci, "model", text_or_null(d->model),
                  "link_bytes_per_s",
                  isnan(d->link_bytes_per_s) ? json_null() : json_real(d->link_bytes_per_s), "numa",
                  d->numa < 0 ? json_null() : json_integer(d->numa));
    if (json && d->kind == KVS_DEV_NIC)
        json_object_set_new(json, "rdma", json_boolean(d->rdma));
    if (json && d->kind == KVS_DEV_GPU) {
        json_object_set_new(json, "nearest_nic", nearest_json(t, i, KVS_DEV_NIC));
        json_object_set_new(json, "nearest_nvme", nearest_json(t, i, KVS_DEV_NVME));
    }
    return json;
}

static json_t *distances_json(const struct kvs_topology *t)
{
    json_t *rows = json_array();
    if (t->n_numa == 0 || t->numa_distance[0][0] == 0) {
        json_decref(rows);
        return json_null();
    }
    for (unsigned a = 0; a < t->n_numa; a++) {
        json_t *row = json_array();
        for (unsigned b = 0; b < t->n_numa; b++)
            json_array_append_new(row, json_integer(t->numa_distance[a][b]));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *count_or_null(unsigned n)
{
    return n ? json_integer(n) : json_null();
}

json_t *kvs_topology_json(const struct kvs_topology *t)
{
    json_t *mem = json_array(), *devices = json_array();
    for (unsigned i = 0; i < t->n_numa; i++)
        json_array_append_new(mem, json_real(t->mem_bytes[i]));
    for (unsigned i = 0; i < t->n_dev; i++)
        json_array_append_new(devices, dev_json(t, i));
    return json_pack("{so so so so so so so so}", "packages", count_or_null(t->n_package), "cores",
                     count_or_null(t->n_core), "pus", count_or_null(t->n_pu), "numa_nodes",
                     count_or_null(t->n_numa), "numa_bytes", mem, "numa_distance",
                     distances_json(t), "last_cache_bytes",
                     t->cache_bytes > 0 ? json_real(t->cache_bytes) : json_null(), "devices",
                     devices);
}
