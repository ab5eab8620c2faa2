#include "net.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A stretch of time in which the flow's share did not change. */
struct leg {
    int64_t at_ns;
    double work_ns; /* position at at_ns */
    double share;   /* nanoseconds of work a nanosecond */
};

struct flow {
    struct kvs_flow_spec spec;
    double cap; /* bytes per second alone */
    double rate;
    bool active, frozen;
    uint32_t mark;                /* of the last visit */
    uint32_t place[KVS_FLOW_HOP]; /* in each link's list */
    uint32_t n_leg, leg_room;
    struct leg *leg;
};

struct link {
    uint32_t *flow; /* active flows on it */
    uint32_t n_flow, room, mark;
    double use; /* share of its time that is occupied now */
    double busy_s;
    int64_t at_ns; /* busy_s is up to here */
    /* while rates are computed: free share; of unfrozen flows, seconds per byte and number */
    double left, want;
    uint32_t n_want;
};

struct kvs_net {
    struct link *link;
    uint32_t n_link;
    struct flow *flow;
    uint32_t n_flow, flow_room;
    uint32_t *idle; /* forgotten flows */
    uint32_t n_idle;
    uint32_t mark;
    uint32_t *group_flow, *group_link; /* those reached from a start or stop */
    uint32_t n_group_flow, n_group_link;
    uint32_t *changed;
    uint32_t n_changed;
};

struct kvs_net *kvs_net_new(uint32_t n_link)
{
    struct kvs_net *net = calloc(1, sizeof *net);
    if (!net)
        return NULL;
    net->n_link = n_link;
    net->link = calloc(n_link ? n_link : 1, sizeof *net->link);
    net->group_link = calloc(n_link ? n_link : 1, sizeof *net->group_link);
    if (!net->link || !net->group_link) {
        kvs_net_free(net);
        return NULL;
    }
    return net;
}

void kvs_net_free(struct kvs_net *net)
{
    if (!net)
        return;
    for (uint32_t i = 0; net->link && i < net->n_link; i++)
        free(net->link[i].flow);
    for (uint32_t i = 0; i < net->flow_room; i++)
        free(net->flow[i].leg);
    free(net->link);
    free(net->flow);
    free(net->idle);
    free(net->group_flow);
    free(net->group_link);
    free(net->changed);
    free(net);
}

/* Room for one flow more in every list that is as long as the flows. */
static bool grow(struct kvs_net *net)
{
    uint32_t room = net->flow_room ? 2 * net->flow_room : 32;
    struct flow *flow = realloc(net->flow, room * sizeof *flow);
    if (!flow)
        return false;
    memset(flow + net->flow_room, 0, (room - net->flow_room) * sizeof *flow);
    net->flow = flow;
    uint32_t **list[] = {&net->idle, &net->group_flow, &net->changed};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        uint32_t *longer = realloc(*list[i], room * sizeof *longer);
        if (!longer)
            return false;
        *list[i] = longer;
    }
    net->flow_room = room;
    return true;
}

static bool list_room(struct link *link)
{
    if (link->n_flow < link->room)
        return true;
    uint32_t room = link->room ? 2 * link->room : 8;
    uint32_t *flow = realloc(link->flow, room * sizeof *flow);
    if (!flow)
        return false;
    link->flow = flow;
    link->room = room;
    return true;
}

static bool leg_room(struct flow *flow)
{
    if (flow->n_leg < flow->leg_room)
        return true;
    uint32_t room = flow->leg_room ? 2 * flow->leg_room : 4;
    struct leg *leg = realloc(flow->leg, room * sizeof *leg);
    if (!leg)
        return false;
    flow->leg = leg;
    flow->leg_room = room;
    return true;
}

static double position(const struct flow *flow, int64_t now_ns)
{
    const struct leg *leg = &flow->leg[flow->n_leg - 1];
    double at = leg->work_ns + leg->share * (double)(now_ns - leg->at_ns);
    double work = (double)flow->spec.work_ns;
    return at < work ? at : work;
}

/* Gathers the flows and links that are connected with the links of one flow. */
static void gather(struct kvs_net *net, const struct flow *from)
{
    uint32_t mark = ++net->mark;
    net->n_group_flow = net->n_group_link = 0;
    for (uint32_t h = 0; h < from->spec.n_hop; h++) {
        struct link *link = &net->link[from->spec.link[h]];
        if (link->mark != mark) {
            link->mark = mark;
            net->group_link[net->n_group_link++] = from->spec.link[h];
        }
    }
    for (uint32_t i = 0; i < net->n_group_link; i++) {
        const struct link *link = &net->link[net->group_link[i]];
        for (uint32_t f = 0; f < link->n_flow; f++) {
            struct flow *flow = &net->flow[link->flow[f]];
            if (flow->mark == mark)
                continue;
            flow->mark = mark;
            net->group_flow[net->n_group_flow++] = link->flow[f];
            for (uint32_t h = 0; h < flow->spec.n_hop; h++) {
                struct link *next = &net->link[flow->spec.link[h]];
                if (next->mark != mark) {
                    next->mark = mark;
                    net->group_link[net->n_group_link++] = flow->spec.link[h];
                }
            }
        }
    }
}

static void freeze(struct kvs_net *net, struct flow *flow, double rate)
{
    flow->frozen = true;
    flow->rate = rate;
    for (uint32_t h = 0; h < flow->spec.n_hop; h++) {
        struct link *link = &net->link[flow->spec.link[h]];
        link->left -= rate * flow->spec.s_per_byte[h];
        link->want -= flow->spec.s_per_byte[h];
        link->n_want--;
    }
}

/* Whether all flows of the group fit at their own speed. */
static bool all_at_cap(struct kvs_net *net)
{
    for (uint32_t i = 0; i < net->n_group_link; i++) {
        const struct link *link = &net->link[net->group_link[i]];
        double use = 0;
        for (uint32_t f = 0; f < link->n_flow; f++) {
            const struct flow *flow = &net->flow[link->flow[f]];
            for (uint32_t h = 0; h < flow->spec.n_hop; h++)
                if (flow->spec.link[h] == net->group_link[i])
                    use += flow->cap * flow->spec.s_per_byte[h];
        }
        if (use > 1 + 1e-12)
            return false;
    }
    return true;
}

/* Progressive filling: all rates rise together; a flow stops at its cap or when a link of it is
 * full. */
static void fill(struct kvs_net *net)
{
    for (uint32_t i = 0; i < net->n_group_link; i++) {
        struct link *link = &net->link[net->group_link[i]];
        link->left = 1;
        link->want = 0;
        link->n_want = 0;
    }
    for (uint32_t i = 0; i < net->n_group_flow; i++) {
        struct flow *flow = &net->flow[net->group_flow[i]];
        flow->frozen = false;
        for (uint32_t h = 0; h < flow->spec.n_hop; h++) {
            net->link[flow->spec.link[h]].want += flow->spec.s_per_byte[h];
            net->link[flow->spec.link[h]].n_want++;
        }
    }
    for (uint32_t n_left = net->n_group_flow; n_left;) {
        double level = HUGE_VAL;
        uint32_t full = UINT32_MAX;
        for (uint32_t i = 0; i < net->n_group_link; i++) {
            const struct link *link = &net->link[net->group_link[i]];
            if (!link->n_want)
                continue;
            double here = link->left > 0 && link->want > 0 ? link->left / link->want : 0;
            if (here < level) {
                level = here;
                full = net->group_link[i];
            }
        }
        uint32_t n_before = n_left;
        for (uint32_t i = 0; i < net->n_group_flow; i++) {
            struct flow *flow = &net->flow[net->group_flow[i]];
            if (!flow->frozen && flow->cap <= level) {
                freeze(net, flow, flow->cap);
                n_left--;
            }
        }
        if (n_left < n_before)
            continue; /* the links have more room now */
        assert(full != UINT32_MAX);
        const struct link *link = &net->link[full];
        for (uint32_t f = 0; f < link->n_flow; f++) {
            struct flow *flow = &net->flow[link->flow[f]];
            if (!flow->frozen) {
                freeze(net, flow, level);
                n_left--;
            }
        }
        assert(n_left < n_before);
    }
}

/* Gives the group its rates; notes the flows whose rate is another now. */
static bool share_out(struct kvs_net *net, int64_t now_ns)
{
    bool at_cap = all_at_cap(net);
    if (!at_cap)
        fill(net);
    net->n_changed = 0;
    for (uint32_t i = 0; i < net->n_group_flow; i++) {
        struct flow *flow = &net->flow[net->group_flow[i]];
        if (at_cap)
            flow->rate = flow->cap;
        double share = flow->rate >= flow->cap ? 1 : flow->rate / flow->cap;
        struct leg *last = &flow->leg[flow->n_leg - 1];
        if (share == last->share)
            continue;
        struct leg leg = {now_ns, position(flow, now_ns), share};
        if (last->at_ns == now_ns) {
            last->share = share;
        } else {
            if (!leg_room(flow))
                return false;
            flow->leg[flow->n_leg++] = leg;
        }
        net->changed[net->n_changed++] = net->group_flow[i];
    }
    for (uint32_t i = 0; i < net->n_group_link; i++) {
        struct link *link = &net->link[net->group_link[i]];
        link->busy_s += link->use * (double)(now_ns - link->at_ns) * 1e-9;
        link->at_ns = now_ns;
        link->use = 0;
        for (uint32_t f = 0; f < link->n_flow; f++) {
            const struct flow *flow = &net->flow[link->flow[f]];
            for (uint32_t h = 0; h < flow->spec.n_hop; h++)
                if (flow->spec.link[h] == net->group_link[i])
                    link->use += flow->rate * flow->spec.s_per_byte[h];
        }
    }
    return true;
}

uint32_t kvs_net_start(struct kvs_net *net, int64_t now_ns, const struct kvs_flow_spec *spec)
{
    uint32_t at;
    net->n_changed = 0;
    if (net->n_idle) {
        at = net->idle[--net->n_idle];
    } else {
        if (net->n_flow == net->flow_room && !grow(net))
            return KVS_NO_FLOW;
        at = net->n_flow++;
    }
    struct flow *flow = &net->flow[at];
    flow->spec.n_hop = spec->n_hop;
    memcpy(flow->spec.link, spec->link, spec->n_hop * sizeof *spec->link);
    memcpy(flow->spec.s_per_byte, spec->s_per_byte, spec->n_hop * sizeof *spec->s_per_byte);
    flow->spec.n_bytes = spec->n_bytes;
    flow->spec.work_ns = spec->work_ns;
    flow->cap = spec->work_ns > 0 ? spec->n_bytes / ((double)spec->work_ns * 1e-9) : HUGE_VAL;
    flow->n_leg = 0;
    bool room = leg_room(flow);
    for (uint32_t h = 0; room && h < spec->n_hop; h++)
        room = list_room(&net->link[spec->link[h]]);
    if (!room) {
        net->idle[net->n_idle++] = at;
        return KVS_NO_FLOW;
    }
    flow->leg[flow->n_leg++] = (struct leg){now_ns, 0, 0};
    flow->active = true;
    if (spec->work_ns <= 0 || spec->n_bytes <= 0) { /* moves nothing that could be shared */
        flow->spec.n_hop = 0;
        flow->leg[0].share = 1;
        flow->rate = 0;
        net->changed[net->n_changed++] = at;
        return at;
    }
    for (uint32_t h = 0; h < spec->n_hop; h++) {
        struct link *link = &net->link[spec->link[h]];
        flow->place[h] = link->n_flow;
        link->flow[link->n_flow++] = at;
    }
    gather(net, flow);
    if (!share_out(net, now_ns))
        return KVS_NO_FLOW;
    return at;
}

void kvs_net_stop(struct kvs_net *net, int64_t now_ns, uint32_t at)
{
    struct flow *flow = &net->flow[at];
    assert(flow->active);
    flow->active = false;
    net->n_changed = 0;
    struct leg last = {now_ns, position(flow, now_ns), 0};
    if (flow->spec.n_hop == 0 || last.work_ns > (double)flow->spec.work_ns - 1e-3)
        last.work_ns = (double)flow->spec.work_ns; /* done, but for rounding */
    for (uint32_t h = 0; h < flow->spec.n_hop; h++) {
        struct link *link = &net->link[flow->spec.link[h]];
        uint32_t moved = link->flow[--link->n_flow];
        link->flow[flow->place[h]] = moved;
        struct flow *other = &net->flow[moved];
        for (uint32_t g = 0; g < other->spec.n_hop; g++)
            if (other->spec.link[g] == flow->spec.link[h])
                other->place[g] = flow->place[h];
    }
    gather(net, flow);
    (void)share_out(net,
                    now_ns); /* a leg that finds no memory keeps its old share: late, never wrong */
    if (flow->leg[flow->n_leg - 1].at_ns == now_ns && flow->n_leg > 1)
        flow->leg[flow->n_leg - 1] = last;
    else if (leg_room(flow))
        flow->leg[flow->n_leg++] = last;
}

void kvs_net_cut(struct kvs_net *net, uint32_t at, int64_t work_ns)
{
    struct flow *flow = &net->flow[at];
    assert(flow->active && work_ns <= flow->spec.work_ns);
    flow->spec.n_bytes *= (double)work_ns / (double)flow->spec.work_ns;
    flow->spec.work_ns = work_ns;
}

void kvs_net_forget(struct kvs_net *net, uint32_t at)
{
    assert(!net->flow[at].active);
    net->idle[net->n_idle++] = at;
}

const uint32_t *kvs_net_changed(const struct kvs_net *net, uint32_t *n)
{
    *n = net->n_changed;
    return net->changed;
}

int64_t kvs_net_when(const struct kvs_net *net, uint32_t at, int64_t work_ns)
{
    const struct flow *flow = &net->flow[at];
    double work = (double)work_ns;
    for (uint32_t i = flow->n_leg; i-- > 0;) {
        const struct leg *leg = &flow->leg[i];
        if (leg->work_ns >= work && i > 0)
            continue;
        if (leg->work_ns >= work)
            return leg->at_ns;
        if (leg->share <= 0)
            return INT64_MAX;
        return leg->at_ns + (int64_t)ceil((work - leg->work_ns) / leg->share - 1e-6);
    }
    return INT64_MAX;
}

int64_t kvs_net_end_ns(const struct kvs_net *net, uint32_t flow)
{
    return kvs_net_when(net, flow, net->flow[flow].spec.work_ns);
}

double kvs_net_busy_s(const struct kvs_net *net, uint32_t at, int64_t now_ns)
{
    const struct link *link = &net->link[at];
    return link->busy_s + link->use * (double)(now_ns - link->at_ns) * 1e-9;
}

double kvs_net_rate(const struct kvs_net *net, uint32_t flow)
{
    return net->flow[flow].rate;
}
