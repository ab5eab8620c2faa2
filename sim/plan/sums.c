#include "sums.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

void kvs_sums_of(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                 struct kvs_sums *sums)
{
    uint32_t n_layer = problem->n_layer, n_route = problem->n_route;
    int64_t pre = 0, distortion = 0, io[KVS_MAX_ROUTE] = {0}, decode = 0, wait = 0;
    uint32_t low = plan->frac_i[0];

    for (uint32_t l = 0; l <= n_layer; l++) {
        const struct kvs_layer_cost *cost;
        int64_t work, early;
        uint32_t i, next, at;

        for (uint32_t k = 0; k < n_route; k++)
            sums->io[k][l] = (double)io[k];
        sums->decode[l] = (double)decode;
        sums->wait[l] = (double)wait;
        if (l == n_layer)
            break;
        cost = problem->layer[l];
        i = plan->frac_i[l];
        next = l + 1 < n_layer ? plan->frac_i[l + 1] : 0;
        at = i * problem->n_level + plan->level[l];
        for (uint32_t k = 0; k < n_route; k++)
            io[k] += cost->io_ns[k][at];
        if (problem->state_at) { /* plan.h, restart points */
            uint32_t on = next < low ? next : low;

            for (uint32_t k = 0; k < n_route; k++)
                io[k] += kvs_plan_state_ns(problem, plan, l, k);
            early = cost->full_ns[on] + cost->kv_ns[low] - cost->kv_ns[on];
            next = next < i ? next : i;
            low = on;
            work = cost->full_ns[next] + cost->kv_ns[i] - cost->kv_ns[next];
        } else {
            early = work = cost->full_ns[next] + cost->kv_ns[i] - cost->kv_ns[next];
        }
        decode += cost->decode_ns[at];
        wait += cost->post_ns[at] + cost->wfull_ns[next] + cost->wkv_ns[i] - cost->wkv_ns[next] +
                work - early;
        pre += early;
        distortion += cost->distortion[at];
    }
    sums->work = (double)(pre + wait);
    sums->distortion = (double)distortion;
}

double kvs_path_ns(const struct kvs_plan_problem *problem, const struct kvs_path *path,
                   const struct kvs_sums *sums)
{
    double head = (double)problem->head_ns;

    if (path->all_work)
        return (double)problem->gpu_start_ns + sums->work + head;
    if (path->route < problem->n_route)
        head += (double)problem->io_start_ns[path->route] + sums->io[path->route][path->enter + 1];
    return head + sums->decode[path->compute + 1] - sums->decode[path->enter] +
           sums->wait[problem->n_layer] - sums->wait[path->compute];
}

double kvs_path_longest(const struct kvs_plan_problem *problem, const struct kvs_sums *sums,
                        struct kvs_path *path)
{
    uint32_t n_layer = problem->n_layer, n_route = problem->n_route;
    struct kvs_path x = {.route = n_route}; /* of the arrival at the present layer */
    double longest = (double)problem->gpu_start_ns + sums->work, x_ns = 0;

    *path = (struct kvs_path){.all_work = true};
    for (uint32_t l = 0; l < n_layer; l++) {
        double on;

        for (uint32_t k = 0; k < n_route; k++) {
            double in = (double)problem->io_start_ns[k] + sums->io[k][l + 1];

            if (in > x_ns) {
                x_ns = in;
                x.route = k;
                x.enter = l;
            }
        }
        x_ns += sums->decode[l + 1] - sums->decode[l];
        on = x_ns + sums->wait[n_layer] - sums->wait[l];
        if (on > longest) {
            longest = on;
            *path = x;
            path->compute = l;
        }
    }
    return longest + (double)problem->head_ns;
}
