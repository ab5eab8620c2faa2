#include "fabric.h"

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TAG 1024

struct kvs_fabric {
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_av *av;
    struct fid_cq *cq;
    struct fid_ep *ep;
    struct fid_mr *mr;
    void *buf;
    uint64_t n_byte;
    fi_addr_t peer;
    uint64_t peer_key, peer_base;
    struct fi_context context[MAX_TAG]; /* one an operation in flight: its tag is its place */
    char provider[64];
};

static enum kvs_code failed(const struct kvs_fabric *f, const char *what, long error,
                            struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_IO, "libfabric %s: %s: %s", f->provider, what,
                    fi_strerror((int)-error));
}

static enum kvs_code find_provider(struct kvs_fabric *f, const char *address, bool is_server,
                                   struct kvs_err *err)
{
    struct fi_info *hints = fi_allocinfo();
    if (!hints)
        return kvs_nomem(err);
    hints->ep_attr->type = FI_EP_RDM;
    hints->caps = FI_RMA | (is_server ? FI_REMOTE_READ : FI_READ);
    hints->mode = FI_CONTEXT;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    hints->fabric_attr->prov_name = strdup(f->provider);
    bool has_address = is_server && address && strcmp(f->provider, "shm") != 0;
    int error = fi_getinfo(FI_VERSION(1, 17), has_address ? address : NULL, NULL,
                           has_address ? FI_SOURCE : 0, hints, &f->info);
    fi_freeinfo(hints);
    if (error)
        return kvs_fail(err, KVS_ERR_ABSENT, "libfabric offers no RMA by provider %s here: %s",
                        f->provider, fi_strerror(-error));
    return KVS_OK;
}

static enum kvs_code set_up(struct kvs_fabric *f, bool is_server, bool block, struct kvs_err *err)
{
    struct fi_av_attr av = {.type = FI_AV_TABLE};
    struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_CONTEXT,
                            .size = MAX_TAG,
                            .wait_obj = block ? FI_WAIT_UNSPEC : FI_WAIT_NONE};
    long e;
    if ((e = fi_fabric(f->info->fabric_attr, &f->fabric, NULL)))
        return failed(f, "fabric", e, err);
    if ((e = fi_domain(f->fabric, f->info, &f->domain, NULL)))
        return failed(f, "domain", e, err);
    if ((e = fi_av_open(f->domain, &av, &f->av, NULL)))
        return failed(f, "addresses", e, err);
    if ((e = fi_cq_open(f->domain, &cq, &f->cq, NULL)) && block)
        return kvs_fail(err, KVS_ERR_ABSENT, "libfabric %s: completions cannot be slept for: %s",
                        f->provider, fi_strerror((int)-e));
    if (e)
        return failed(f, "completion queue", e, err);
    if ((e = fi_endpoint(f->domain, f->info, &f->ep, NULL)) ||
        (e = fi_ep_bind(f->ep, &f->av->fid, 0)) ||
        (e = fi_ep_bind(f->ep, &f->cq->fid, FI_TRANSMIT | FI_RECV)) || (e = fi_enable(f->ep)))
        return failed(f, "endpoint", e, err);
    uint64_t access = is_server ? FI_REMOTE_READ : FI_READ;
    if ((e = fi_mr_reg(f->domain, f->buf, f->n_byte, access, 0, is_server ? 1 : 2, 0, &f->mr,
                       NULL)))
        return failed(f, "memory registration (is ulimit -l too small?)", e, err);
    return KVS_OK;
}

enum kvs_code kvs_fabric_open(const char *provider, const char *address, bool is_server, bool block,
                              void *buf, uint64_t n_byte, struct kvs_fabric **fabric,
                              struct kvs_err *err)
{
    struct kvs_fabric *f = calloc(1, sizeof *f);
    *fabric = NULL;
    if (!f)
        return kvs_nomem(err);
    snprintf(f->provider, sizeof f->provider, "%s", provider);
    f->buf = buf;
    f->n_byte = n_byte;
    enum kvs_code code = find_provider(f, address, is_server, err);
    if (!code)
        code = set_up(f, is_server, block, err);
    if (code) {
        kvs_fabric_close(f);
        return code;
    }
    *fabric = f;
    return KVS_OK;
}

void kvs_fabric_close(struct kvs_fabric *f)
{
    if (!f)
        return;
    if (f->ep)
        fi_close(&f->ep->fid);
    if (f->mr)
        fi_close(&f->mr->fid);
    if (f->cq)
        fi_close(&f->cq->fid);
    if (f->av)
        fi_close(&f->av->fid);
    if (f->domain)
        fi_close(&f->domain->fid);
    if (f->fabric)
        fi_close(&f->fabric->fid);
    if (f->info)
        fi_freeinfo(f->info);
    free(f);
}

enum kvs_code kvs_fabric_where(struct kvs_fabric *f, struct kvs_net_fabric *where,
                               struct kvs_err *err)
{
    size_t n = sizeof where->name;
    memset(where, 0, sizeof *where);
    int error = fi_getname(&f->ep->fid, where->name, &n);
    if (error)
        return failed(f, "endpoint name", error, err);
    where->n_name = (uint32_t)n;
    where->key = fi_mr_key(f->mr);
    where->addr = f->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? (uint64_t)(uintptr_t)f->buf : 0;
    where->n_byte = f->n_byte;
    return KVS_OK;
}

enum kvs_code kvs_fabric_connect(struct kvs_fabric *f, const struct kvs_net_fabric *peer,
                                 struct kvs_err *err)
{
    int n = fi_av_insert(f->av, peer->name, 1, &f->peer, 0, NULL);
    if (n != 1)
        return failed(f, "the peer's address", n < 0 ? n : -FI_EINVAL, err);
    f->peer_key = peer->key;
    f->peer_base = peer->addr;
    return KVS_OK;
}

enum kvs_code kvs_fabric_read(struct kvs_fabric *f, uint64_t from, uint64_t to, uint64_t n_byte,
                              uint64_t tag, bool *full, struct kvs_err *err)
{
    *full = false;
    if (tag >= MAX_TAG || to > f->n_byte || n_byte > f->n_byte - to)
        return kvs_fail(err, KVS_ERR_RANGE, "an RMA read outside its buffer");
    ssize_t e = fi_read(f->ep, (char *)f->buf + to, n_byte, fi_mr_desc(f->mr), f->peer,
                        f->peer_base + from, f->peer_key, &f->context[tag]);
    if (e == -FI_EAGAIN)
        *full = true;
    else if (e)
        return failed(f, "read", e, err);
    return KVS_OK;
}

enum kvs_code kvs_fabric_poll(struct kvs_fabric *f, int wait_ms, uint64_t *tags, unsigned n,
                              unsigned *got, struct kvs_err *err)
{
    struct fi_cq_entry entries[64];
    size_t room = n < 64 ? n : 64;
    *got = 0;
    ssize_t k = wait_ms > 0 ? fi_cq_sread(f->cq, entries, room, NULL, wait_ms)
                            : fi_cq_read(f->cq, entries, room);
    if (k == -FI_EAGAIN || k == -FI_EINTR)
        return KVS_OK;
    if (k == -FI_EAVAIL) {
        struct fi_cq_err_entry entry = {0};
        fi_cq_readerr(f->cq, &entry, 0);
        return failed(f, "a read failed (is the peer gone?)", -entry.err, err);
    }
    if (k < 0)
        return failed(f, "completion queue", k, err);
    for (ssize_t i = 0; i < k; i++)
        tags[(*got)++] = (uint64_t)((struct fi_context *)entries[i].op_context - f->context);
    return KVS_OK;
}
