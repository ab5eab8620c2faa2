/*
 * netproto.h - what kvprobe and its peer say to each other: small fixed headers, little endian.
 *
 * Pure: bytes to message and back. Every length is bounded here, before anybody allocates or reads
 * by it. A client says HELLO, gets HELLO with the size of the server's buffer, and then asks READs
 * of ranges in it, each answered by DATA; or asks for a FABRIC, answered by where to read by RMA.
 * ERROR carries a sentence and ends the connection.
 */
#ifndef KVS_PROBES_NETPROTO_H
#define KVS_PROBES_NETPROTO_H

#include "base/err.h"

#include <stdint.h>

#define KVS_NET_VERSION 1
#define KVS_NET_HEADER 32            /* bytes */
#define KVS_NET_BUFFER (64ull << 20) /* the server's buffer: no read goes outside it */
#define KVS_NET_TEXT_MAX 512         /* payload of FABRIC and ERROR */

enum kvs_net_op { KVS_NET_HELLO = 1, KVS_NET_READ, KVS_NET_DATA, KVS_NET_FABRIC, KVS_NET_ERROR };

struct kvs_net_msg {
    enum kvs_net_op op;
    uint64_t id;     /* of a READ, given back with its DATA */
    uint64_t offset; /* READ: in the server's buffer */
    uint64_t n_byte; /* READ: asked for; DATA, FABRIC, ERROR: that follow; HELLO: of the buffer */
};

void kvs_net_pack(const struct kvs_net_msg *msg, uint8_t out[KVS_NET_HEADER]);
/* KVS_ERR_PARSE: not this protocol, or another version of it; KVS_ERR_RANGE: a size or range that
 * no message of its kind may have. */
KVS_MUST_CHECK enum kvs_code kvs_net_parse(const uint8_t in[KVS_NET_HEADER],
                                           struct kvs_net_msg *msg, struct kvs_err *err);

/* Where an RMA peer reads: the answer to FABRIC. */
struct kvs_net_fabric {
    uint64_t key, addr, n_byte;
    uint32_t n_name;
    uint8_t name[KVS_NET_TEXT_MAX - 28]; /* the endpoint's, as libfabric gives it */
};
unsigned kvs_net_pack_fabric(const struct kvs_net_fabric *fabric, uint8_t out[KVS_NET_TEXT_MAX]);
KVS_MUST_CHECK enum kvs_code kvs_net_parse_fabric(const uint8_t *in, uint64_t n_byte,
                                                  struct kvs_net_fabric *fabric,
                                                  struct kvs_err *err);

#endif
