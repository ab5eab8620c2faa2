/*
 * kvsim report: a results folder as one HTML file.
 */
#include "cmd.h"

#include "base/opt.h"
#include "recommend_print.h"
#include "study/html.h"
#include "study/sweep_plot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USAGE "kvsim report DIR [-o FILE]"
#define ABOUT                                                                                      \
    "A results folder of kvsim run or sweep as one HTML file that needs no network: a summary "    \
    "in\n"                                                                                         \
    "words, tables that sort, the figures of `kvsim plot`, every assumption with its source. A\n"  \
    "folder of kvsim recommend has its answer as text, which is printed."

struct args {
    const char *file;
};

static const struct kvs_opt table[] = {
    {"out", KVS_OPT_STR, offsetof(struct args, file), NULL, 0, 0, "default: DIR/report.html", NULL,
     false, 'o'},
};

/* A sweep leaves its table alone: its figures are drawn once they are wanted. Without gnuplot there
 * are none. */
static enum kvs_code draw_sweep(const char *dir, struct kvs_err *err)
{
    char *plots = NULL;
    enum kvs_code code = KVS_OK;
    if (asprintf(&plots, "%s/plots", dir) < 0)
        return kvs_nomem(err);
    if (kvs_sweep_plot_has(dir) && access(plots, R_OK))
        code = kvs_sweep_plot(dir, err);
    free(plots);
    if (code == KVS_ERR_ABSENT) {
        fprintf(stderr, "kvsim report: %s\n", err->msg);
        *err = (struct kvs_err){0};
        code = KVS_OK;
    }
    return code;
}

/* A folder of kvsim recommend has its answer as text, and no pages: what it said is said again. */
static enum kvs_code show_recommend(const char *dir, const char *file, bool *printed,
                                    struct kvs_err *err)
{
    char *path = NULL, line[4096];
    if (asprintf(&path, "%s/" KVS_RECOMMEND_TXT, dir) < 0)
        return kvs_nomem(err);
    FILE *text = fopen(path, "r");
    *printed = text != NULL;
    if (text && file)
        kvs_fail(err, KVS_ERR_ARG, "--out: %s is of kvsim recommend, whose answer is printed", dir);
    while (text && !file && fgets(line, sizeof line, text))
        fputs(line, stdout); /* main checks stdout */
    if (text && ferror(text))
        kvs_fail(err, KVS_ERR_IO, "%s: cannot be read", path);
    if (text)
        fclose(text);
    free(path);
    return err->code;
}

static enum kvs_code report(int argc, char *const *argv, struct kvs_err *err)
{
    struct args args = {0};
    struct kvs_strs pos = {0};
    char *file = NULL;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(table, 1, argc, argv, &args, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, USAGE, ABOUT, table, 1);
        return KVS_OK;
    }
    if (pos.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "found %u folders, want one: " USAGE, pos.n);
    bool printed = false;
    if (access(pos.v[0], F_OK))
        return kvs_fail(err, kvs_errno_code(errno), "%s: %s", pos.v[0], strerror(errno));
    if ((code = show_recommend(pos.v[0], args.file, &printed, err)) || printed)
        return code;
    if ((code = draw_sweep(pos.v[0], err)))
        return code;
    if (asprintf(&file, "%s%s", args.file ? args.file : pos.v[0], args.file ? "" : "/report.html") <
        0)
        return kvs_nomem(err);
    if (!(code = kvs_html_report(pos.v[0], file, err)))
        printf("%s\n", file);
    free(file);
    return code;
}

const struct kvs_cmd kvs_cmd_report = {"report", "a results folder as one HTML file", report};
