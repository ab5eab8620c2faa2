#include "front.h"

#include "base/outfile.h"
#include "report/plot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void kvs_front_csv(const struct kvs_recommend *recommend, const struct kvs_space *space, FILE *to)
{
    fputs("configuration,cost_per_h,ttft_p99_s,goodput_req_per_s,meets,front,cheapest,busiest\n",
          to);
    for (uint64_t i = 0; i < recommend->n; i++) {
        const struct kvs_measure *m = &recommend->measure[i];
        char text[KVS_CHOICE_TEXT];
        if (recommend->state[i] != KVS_TRY_DONE || !m->ran)
            continue;
        fprintf(to, "\"%s\",%.6g,%.6g,%.6g,%d,%d,%d,%s\n",
                kvs_space_text(space, kvs_space_at(space, i), text),
                kvs_recommend_total(recommend, space, i).all, m->ttft_p99_s, m->goodput_per_s,
                m->meets, kvs_recommend_on_front(recommend, space, i),
                recommend->found && i == recommend->best, kvs_measure_binding(m));
    }
}

bool kvs_front_has(const char *dir)
{
    char *file = NULL;
    const bool has = asprintf(&file, "%s/cost_front.csv", dir) >= 0 && access(file, R_OK) == 0;
    free(file);
    return has;
}

enum kvs_code kvs_front_draw(const struct kvs_recommend *recommend, const struct kvs_space *space,
                             const char *dir, const char *title, struct kvs_err *err)
{
    struct kvs_outfile *out = NULL;
    char *path = NULL;
    enum kvs_code code;
    if (mkdir(dir, 0777) && errno != EEXIST)
        return kvs_fail(err, KVS_ERR_IO, "%s: %s", dir, strerror(errno));
    if (asprintf(&path, "%s/cost_front.csv", dir) < 0)
        return kvs_nomem(err);
    if (!(code = kvs_outfile_begin(path, &out, err))) {
        kvs_front_csv(recommend, space, kvs_outfile_stream(out));
        code = kvs_outfile_commit(out, err);
    }
    free(path);
    return code ? code : kvs_plot_figure(dir, "cost_front", title, err);
}
