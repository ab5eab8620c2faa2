#include "test.h"

#include "probes/topology.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct kvs_topology *open_shared(const char *name)
{
    struct kvs_topology *t;
    struct kvs_err err = {KVS_OK, ""};
    char path[128];
    snprintf(path, sizeof path, "topologies/%s", name);
    const char *file = kvs_shared(path);
    if (!file)
        KVS_SKIP("%s is not there", path);
    if (kvs_topology_read(file, false, &t, &err))
        fail_msg("%s", err.msg);
    return t;
}

static unsigned count(const struct kvs_topology *t, enum kvs_dev_kind kind, bool rdma_only)
{
    unsigned n = 0;
    for (unsigned i = 0; i < t->n_dev; i++)
        n += t->dev[i].kind == kind && (!rdma_only || t->dev[i].rdma);
    return n;
}

/*
 * RDMA devices are counted, not PCI functions: p5 lists 64 of these for 32. Every GPU of a server
 * has so many nearest RDMA NICs and NVMe, at so many hops; on p6 two GPUs share four NICs.
 */
static void real_servers_show_their_gpus_and_what_is_near(void **state)
{
    static const struct {
        const char *name;
        unsigned n_gpu, n_rdma, n_nic, n_nvme, near_nic_min, near_nic_max, near_nvme, hops;
        double link_bytes_per_s;
    } servers[] = {
        {"aws-p4d.24xl.xml", 8, 4, 8, 9, 1, 1, 2, 2, 31.5e9},
        {"aws-p5.48xl.xml", 8, 32, 64, 9, 4, 4, 1, 4, 63.0e9},
        {"aws-p5en.48xl.xml", 8, 16, 32, 9, 4, 4, 2, 4, 63.0e9},
        {"aws-p6-b200.48xl.xml", 8, 10, 18, 9, 2, 4, 2, 4, 63.0e9},
        {"nvidia-dgx2.xml", 16, 0, 0, 0, 0, 0, 0, 255, 15.75e9},
        {"intel-2n8c-nvme.xml", 0, 0, 3, 1, 0, 0, 0, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof servers / sizeof *servers; i++) {
        struct kvs_topology *t = open_shared(servers[i].name);
        assert_int_equal(count(t, KVS_DEV_GPU, false), servers[i].n_gpu);
        assert_int_equal(count(t, KVS_DEV_NIC, true), servers[i].n_rdma);
        assert_int_equal(count(t, KVS_DEV_NIC, false), servers[i].n_nic);
        assert_int_equal(count(t, KVS_DEV_NVME, false), servers[i].n_nvme);
        assert_int_equal(t->n_numa, 2);
        for (unsigned d = 0; d < t->n_dev; d++) {
            unsigned near[KVS_MAX_DEV], hops, n;
            if (t->dev[d].kind != KVS_DEV_GPU)
                continue;
            n = kvs_topology_nearest(t, d, KVS_DEV_NIC, near, &hops);
            assert_true(n >= servers[i].near_nic_min && n <= servers[i].near_nic_max);
            assert_int_equal(hops, servers[i].hops);
            for (unsigned k = 0; k < n; k++)
                assert_true(t->dev[near[k]].rdma && t->dev[near[k]].numa == t->dev[d].numa);
            n = kvs_topology_nearest(t, d, KVS_DEV_NVME, near, &hops);
            assert_int_equal(n, servers[i].near_nvme);
            assert_int_equal(hops, servers[i].hops);
            assert_true(fabs(t->dev[d].link_bytes_per_s / servers[i].link_bytes_per_s - 1) < 0.01);
        }
        free(t);
    }
}

static void an_unknown_link_speed_is_null_and_never_zero(void **state)
{
    struct kvs_topology *t = open_shared("aws-p4d.24xl.xml");
    unsigned n_null = 0;
    size_t i;
    json_t *dev;
    (void)state;
    json_t *json = kvs_topology_json(t);
    json_array_foreach(json_object_get(json, "devices"), i, dev)
    {
        json_t *link = json_object_get(dev, "link_bytes_per_s");
        bool is_gpu = strcmp(json_string_value(json_object_get(dev, "kind")), "gpu") == 0;
        assert_int_equal(json_is_null(link), !is_gpu);
        assert_int_equal(isnan(t->dev[i].link_bytes_per_s) != 0, !is_gpu);
        n_null += json_is_null(link);
    }
    assert_int_equal(n_null, 17);                              /* 8 NICs and 9 NVMe */
    assert_true(json_is_null(json_object_get(json, "cores"))); /* this file tells none */
    json_decref(json);
    free(t);
}

static void synthetic_machines_have_cores_and_nodes_but_no_devices(void **state)
{
    struct kvs_topology *t;
    (void)state;
    assert_int_equal(kvs_topology_read("pack:2 numa:2 l3:1 core:4 pu:2", true, &t, NULL), KVS_OK);
    assert_int_equal(t->n_package, 2);
    assert_int_equal(t->n_numa, 4);
    assert_int_equal(t->n_core, 16);
    assert_int_equal(t->n_pu, 32);
    assert_int_equal(t->n_dev, 0);
    assert_true(t->cache_bytes > 0);
    free(t);
}

static void what_hwloc_cannot_read_is_an_error(void **state)
{
    struct kvs_topology *t;
    struct kvs_err err = {KVS_OK, ""};
    (void)state;
    setenv("HWLOC_HIDE_ERRORS", "2", 1);
    assert_int_equal(kvs_topology_read("core:x", true, &t, &err), KVS_ERR_PARSE);
    assert_null(t);
    err.code = KVS_OK;
    assert_int_equal(kvs_topology_read("/nowhere/topo.xml", false, &t, &err), KVS_ERR_PARSE);
    assert_non_null(strstr(err.msg, "/nowhere/topo.xml: hwloc 2."));
}

/* hwloc's plugin for PCI leaves memory behind when it is unloaded: not ours to find. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void this_machine_has_a_core_and_memory(void **state)
{
    struct kvs_topology *t;
    (void)state;
    if (__lsan_disable)
        __lsan_disable();
    assert_int_equal(kvs_topology_read(NULL, false, &t, NULL), KVS_OK);
    if (__lsan_enable)
        __lsan_enable();
    assert_true(t->n_pu >= 1 && t->n_numa >= 1 && t->mem_bytes[0] > 0);
    json_t *json = kvs_topology_json(t);
    assert_non_null(json);
    json_decref(json);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_servers_show_their_gpus_and_what_is_near),
        cmocka_unit_test(an_unknown_link_speed_is_null_and_never_zero),
        cmocka_unit_test(synthetic_machines_have_cores_and_nodes_but_no_devices),
        cmocka_unit_test(what_hwloc_cannot_read_is_an_error),
        cmocka_unit_test(this_machine_has_a_core_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
