#include "published_in.h"

#include "base/arena.h"
#include "base/hist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *kvs_pub_status_name(enum kvs_pub_status status)
{
    static const char *const names[] = {"passed", "failed", "skipped", "fitted"};
    return names[status];
}

static bool listed(const struct kvs_strs *strs, const char *word)
{
    for (unsigned i = 0; i < strs->n; i++)
        if (strcmp(strs->v[i], word) == 0)
            return true;
    return false;
}

/* true if the row's profile was fitted on another row of the same source. */
static bool fitted_beside(const struct kvs_pub *pub, const struct kvs_pub_row *row,
                          const struct kvs_hw *hw)
{
    for (size_t i = 0; i < pub->n_row; i++) {
        const struct kvs_pub_row *other = &pub->row[i];
        if (other != row && strcmp(other->source, row->source) == 0 &&
            listed(&hw->fitted_on, other->id))
            return true;
    }
    return false;
}

static void judge(const struct kvs_pub *pub, const struct kvs_pub_lib *lib, struct kvs_pub_row *row)
{
    const struct kvs_hw *hw = *row->gpu ? kvs_pub_hw(lib, row->gpu) : NULL;
    if (row->status == KVS_PUB_SKIPPED)
        return;
    row->is_within = hw && fitted_beside(pub, row, hw);
    row->tolerance = row->is_within ? row->within : row->across;
    if (row->predicted_known && fabs(row->error) <= row->tolerance)
        row->status = KVS_PUB_PASSED;
    if (hw && listed(&hw->fitted_on, row->id))
        row->status = KVS_PUB_FITTED;
}

static enum kvs_code sum_up(struct kvs_pub *pub, struct kvs_err *err)
{
    double *errors = malloc((pub->n_row + 1) * sizeof *errors);
    size_t n = 0;
    if (!errors)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for published rows");
    for (size_t i = 0; i < pub->n_row; i++) {
        const struct kvs_pub_row *row = &pub->row[i];
        unsigned *count[] = {row->restates ? &pub->restated : &pub->passed,
                             row->restates ? &pub->misstated : &pub->failed, &pub->skipped,
                             &pub->fitted};
        ++*count[row->status];
        if (row->predicted_known && row->status <= KVS_PUB_FAILED && !row->restates)
            errors[n++] = fabs(row->error);
    }
    qsort(errors, n, sizeof *errors, kvs_cmp_double);
    pub->median_abs_error = n ? (errors[(n - 1) / 2] + errors[n / 2]) / 2 : (double)NAN;
    free(errors);
    return KVS_OK;
}

enum kvs_code kvs_pub_read(struct kvs_lines *lines, struct kvs_pub **pub, struct kvs_err *err)
{
    enum kvs_code code;
    struct kvs_pub_lib *lib = calloc(1, sizeof *lib);
    struct kvs_pub *p = calloc(1, sizeof *p);
    *pub = NULL;
    if (p)
        p->arena = kvs_arena_new();
    if (!lib || !p || !p->arena) {
        code = kvs_fail(err, KVS_ERR_NOMEM, "no memory for published rows");
        goto done;
    }
    if ((code = kvs_pub_rows(lines, p, err)) || (code = kvs_pub_lib_fill(lib, err)))
        goto done;
    for (size_t i = 0; i < p->n_row; i++)
        kvs_pub_predict(lib, &p->row[i]);
    for (size_t i = 0; i < p->n_row; i++)
        judge(p, lib, &p->row[i]);
    if ((code = sum_up(p, err)))
        goto done;
    *pub = p;
    p = NULL;
done:
    if (lib)
        kvs_pub_lib_free(lib);
    free(lib);
    kvs_pub_free(p);
    return code;
}

void kvs_pub_free(struct kvs_pub *pub)
{
    if (!pub)
        return;
    kvs_arena_free(pub->arena);
    free(pub->row);
    free(pub);
}
