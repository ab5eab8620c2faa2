/*
 * net.h - links that flows share, max-min fair.
 *
 * A flow is a load or a write-back on a route of links. Alone it takes work_ns, all its layers
 * together, at cap_bytes_per_s; its position runs from 0 to work_ns, in nanoseconds of work.
 * Sharing slows it: at share s it moves s ns of work a nanosecond, so a flow that is never slowed
 * keeps integer times to the nanosecond. On each link of its route it occupies s_per_byte of the
 * link's time for each byte; no link is occupied more than all the time. Rates are max-min fair in
 * bytes per second under these two bounds (Bertsekas, Gallager, Data Networks, section 6.5.2),
 * computed anew for the flows that share links, directly or not, with one that starts or ends.
 */
#ifndef KVS_NET_H
#define KVS_NET_H

#include "model/hardware.h"

#include <stdbool.h>
#include <stdint.h>

#define KVS_NO_FLOW UINT32_MAX
#define KVS_FLOW_HOP 200 /* links of a flow that comes from many nodes at once */

struct kvs_net; /* from kvs_net_new, ended by kvs_net_free */

struct kvs_flow_spec {
    uint32_t n_hop;
    uint32_t link[KVS_FLOW_HOP];     /* indices of links, no link twice */
    double s_per_byte[KVS_FLOW_HOP]; /* of that link's time; its inverse is the link's rate */
    double n_bytes;
    int64_t work_ns; /* alone, if no link of its route takes longer: n_bytes * s_per_byte */
};

struct kvs_net *kvs_net_new(uint32_t n_link); /* NULL: no memory */
void kvs_net_free(struct kvs_net *net);       /* accepts NULL */

/* Starts a flow at now_ns. KVS_NO_FLOW: no memory. Changes rates: see kvs_net_changed. */
uint32_t kvs_net_start(struct kvs_net *net, int64_t now_ns, const struct kvs_flow_spec *spec);
/* Stops a flow, done or not; it can still be asked when it was where. Changes rates. */
void kvs_net_stop(struct kvs_net *net, int64_t now_ns, uint32_t flow);
/* Forgets a stopped flow; its index may be given out again. */
void kvs_net_forget(struct kvs_net *net, uint32_t flow);

/*
 * A running flow is to move only the first work_ns of its work, which it has not moved yet; its
 * rate stays, so that no other flow's changes.
 */
void kvs_net_cut(struct kvs_net *net, uint32_t flow, int64_t work_ns);

/* The flows whose rate the last start or stop changed (the started one among them). */
const uint32_t *kvs_net_changed(const struct kvs_net *net, uint32_t *n);
/*
 * First nanosecond at which the flow's position is at least work_ns of its work: as it was, or, for
 * what lies ahead, as it would be at its present rate. INT64_MAX if it stands still or stopped
 * short.
 */
int64_t kvs_net_when(const struct kvs_net *net, uint32_t flow, int64_t work_ns);
/* When all its work is done, at its present rate. */
int64_t kvs_net_end_ns(const struct kvs_net *net, uint32_t flow);
/* Time the link was occupied until now_ns, in seconds (1 s of half use counts 0.5). */
double kvs_net_busy_s(const struct kvs_net *net, uint32_t link, int64_t now_ns);
/* Present rate, for tests. */
double kvs_net_rate(const struct kvs_net *net, uint32_t flow);

#endif
