#include "netproto.h"

#include <string.h>

#define MAGIC 0x5053564bu /* "KVSP" */

static void put(uint8_t *out, uint64_t value, unsigned n_byte)
{
    for (unsigned i = 0; i < n_byte; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *in, unsigned n_byte)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < n_byte; i++)
        value |= (uint64_t)in[i] << 8 * i;
    return value;
}

void kvs_net_pack(const struct kvs_net_msg *msg, uint8_t out[KVS_NET_HEADER])
{
    put(out, MAGIC, 4);
    put(out + 4, KVS_NET_VERSION, 2);
    put(out + 6, (uint64_t)msg->op, 2);
    put(out + 8, msg->id, 8);
    put(out + 16, msg->offset, 8);
    put(out + 24, msg->n_byte, 8);
}

enum kvs_code kvs_net_parse(const uint8_t in[KVS_NET_HEADER], struct kvs_net_msg *msg,
                            struct kvs_err *err)
{
    uint64_t version = get(in + 4, 2), op = get(in + 6, 2);
    memset(msg, 0, sizeof *msg);
    if (get(in, 4) != MAGIC)
        return kvs_fail(err, KVS_ERR_PARSE, "this is not kvprobe's protocol");
    if (version != KVS_NET_VERSION)
        return kvs_fail(err, KVS_ERR_PARSE, "the peer speaks version %llu of the protocol, we %d",
                        (unsigned long long)version, KVS_NET_VERSION);
    if (op < KVS_NET_HELLO || op > KVS_NET_ERROR)
        return kvs_fail(err, KVS_ERR_PARSE, "no message has number %llu", (unsigned long long)op);
    msg->op = (enum kvs_net_op)op;
    msg->id = get(in + 8, 8);
    msg->offset = get(in + 16, 8);
    msg->n_byte = get(in + 24, 8);
    uint64_t most = op == KVS_NET_FABRIC || op == KVS_NET_ERROR ? KVS_NET_TEXT_MAX : KVS_NET_BUFFER;
    if (msg->n_byte > most || (op == KVS_NET_READ && msg->n_byte == 0) ||
        msg->offset > KVS_NET_BUFFER - (op == KVS_NET_READ ? msg->n_byte : 0))
        return kvs_fail(err, KVS_ERR_RANGE, "%llu bytes at %llu lie outside the %llu there are",
                        (unsigned long long)msg->n_byte, (unsigned long long)msg->offset,
                        (unsigned long long)most);
    return KVS_OK;
}

unsigned kvs_net_pack_fabric(const struct kvs_net_fabric *fabric, uint8_t out[KVS_NET_TEXT_MAX])
{
    put(out, fabric->key, 8);
    put(out + 8, fabric->addr, 8);
    put(out + 16, fabric->n_byte, 8);
    put(out + 24, fabric->n_name, 4);
    memcpy(out + 28, fabric->name, fabric->n_name);
    return 28 + fabric->n_name;
}

enum kvs_code kvs_net_parse_fabric(const uint8_t *in, uint64_t n_byte,
                                   struct kvs_net_fabric *fabric, struct kvs_err *err)
{
    memset(fabric, 0, sizeof *fabric);
    if (n_byte < 28)
        return kvs_fail(err, KVS_ERR_PARSE, "an RMA address of %llu bytes is too short",
                        (unsigned long long)n_byte);
    fabric->key = get(in, 8);
    fabric->addr = get(in + 8, 8);
    fabric->n_byte = get(in + 16, 8);
    fabric->n_name = (uint32_t)get(in + 24, 4);
    if (fabric->n_name > sizeof fabric->name || fabric->n_name != n_byte - 28 ||
        fabric->n_byte == 0 || fabric->n_byte > KVS_NET_BUFFER)
        return kvs_fail(err, KVS_ERR_RANGE, "an RMA address whose lengths do not agree");
    memcpy(fabric->name, in + 28, fabric->n_name);
    return KVS_OK;
}
