/* Any bytes as messages of the network protocol: none that is accepted asks for what lies outside.
 */
#include "probes/netproto.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_net_fabric fabric;
    uint8_t back[KVS_NET_TEXT_MAX];
    while (n_byte >= KVS_NET_HEADER) {
        struct kvs_net_msg msg;
        struct kvs_err err = {KVS_OK, ""};
        enum kvs_code code = kvs_net_parse(data, &msg, &err);
        if (code != err.code)
            abort();
        if (!code) {
            if (msg.n_byte > KVS_NET_BUFFER ||
                (msg.op == KVS_NET_READ && msg.offset + msg.n_byte > KVS_NET_BUFFER))
                abort();
            kvs_net_pack(&msg, back);
            if (memcmp(back, data, KVS_NET_HEADER) != 0)
                abort();
        }
        data += KVS_NET_HEADER;
        n_byte -= KVS_NET_HEADER;
    }
    if (n_byte <= KVS_NET_TEXT_MAX && kvs_net_parse_fabric(data, n_byte, &fabric, NULL) == KVS_OK &&
        (kvs_net_pack_fabric(&fabric, back) != n_byte || memcmp(back, data, n_byte) != 0))
        abort();
    return 0;
}
