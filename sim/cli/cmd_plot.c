/*
 * kvsim plot: draws the figures of a results folder, again or for the first time.
 */
#include "cmd.h"

#include "base/opt.h"
#include "report/plot.h"
#include "study/front.h"
#include "study/sweep_plot.h"

#define USAGE "kvsim plot DIR"
#define ABOUT                                                                                      \
    "Draws the figures of a results folder with gnuplot, as SVG and PNG: of a run, a sweep or "    \
    "what\n"                                                                                       \
    "`kvsim recommend -o DIR` left. The scripts are kvsim's plots/*.gp."

static enum kvs_code plot_run(const char *dir, struct kvs_err *err)
{
    enum kvs_code code = kvs_plot(dir, err);
    for (int i = 0; kvs_figure_name[i] && !code; i++)
        printf("%s/plots/%s.svg\n", dir, kvs_figure_name[i]);
    return code;
}

static enum kvs_code plot(int argc, char *const *argv, struct kvs_err *err)
{
    struct kvs_strs pos = {0};
    bool help = false;
    char nothing;
    enum kvs_code code = kvs_opt_argv(NULL, 0, argc, argv, &nothing, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, USAGE, ABOUT, NULL, 0);
        return KVS_OK;
    }
    if (pos.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "found %u folders, want one: " USAGE, pos.n);
    if (kvs_front_has(pos.v[0]))
        code = kvs_plot_figure(pos.v[0], "cost_front", pos.v[0], err);
    else if (kvs_sweep_plot_has(pos.v[0]))
        code = kvs_sweep_plot(pos.v[0], err);
    else
        return plot_run(pos.v[0], err);
    if (!code)
        printf("%s%s\n", pos.v[0],
               kvs_front_has(pos.v[0]) ? "/cost_front.svg" : "/plots/sweep_*.svg");
    return code;
}

const struct kvs_cmd kvs_cmd_plot = {"plot", "draw the figures of a results folder", plot};
