#include "provenance.h"

#include <stdio.h>
#include <string.h>

/* As the profile spells them, by enum kvs_source. */
static const char *const source_name[] = {"assumed", "published", "fitted", "measured"};
#define N_SOURCE (sizeof source_name / sizeof *source_name)

struct walk {
    struct kvs_provenance count;
    json_t *list; /* NULL: count only */
    bool spoilt;
};

static void take_figure(struct walk *walk, struct kvs_json node, const char *label)
{
    const char *source = json_string_value(kvs_json_get(node, "source").v);
    walk->count.n_all++;
    for (size_t i = 0; i < N_SOURCE; i++)
        if (strcmp(source, source_name[i]) == 0)
            walk->count.n[i]++;
    if (!walk->list)
        return;
    json_t *ref = json_object_get(node.v, "ref");
    json_t *figure = json_pack("{s:s, s:O, s:s, s:O?}", "figure", label, "value",
                               json_object_get(node.v, "value"), "source", source, "ref", ref);
    if (!figure || json_array_append_new(walk->list, figure))
        walk->spoilt = true;
}

static bool is_figure(struct kvs_json node)
{
    return json_is_string(kvs_json_get(node, "source").v) && kvs_json_get(node, "value").v;
}

/* label: "links.nvme"; array elements are called by their "name". */
static void visit(struct walk *walk, struct kvs_json node, const char *label)
{
    char inner[128];
    if (json_is_object(node.v) && is_figure(node)) {
        take_figure(walk, node, label);
    } else if (json_is_object(node.v)) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)node.v, key, value)
        {
            snprintf(inner, sizeof inner, "%s.%s", label, key);
            visit(walk, kvs_json_get(node, key), inner);
        }
    } else {
        for (size_t i = 0; json_is_array(node.v) && i < kvs_json_size(node); i++) {
            struct kvs_json item = kvs_json_at(node, i);
            const char *name = json_string_value(kvs_json_get(item, "name").v);
            snprintf(inner, sizeof inner, "%s.%s", label, name ? name : "?");
            visit(walk, item, inner);
        }
    }
}

static void visit_all(struct walk *walk, const struct kvs_hw *hw)
{
    static const char *const part[] = {"gpu", "links", "tiers"};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        visit(walk, kvs_json_get(kvs_doc_root(hw->doc), part[i]), part[i]);
}

struct kvs_provenance kvs_provenance(const struct kvs_hw *hw)
{
    struct walk walk = {.list = NULL};
    visit_all(&walk, hw);
    return walk.count;
}

json_t *kvs_provenance_json(const struct kvs_hw *hw)
{
    struct walk walk = {.list = json_array()};
    if (!walk.list)
        return NULL;
    visit_all(&walk, hw);
    json_t *counts = json_object();
    bool spoilt = walk.spoilt || !counts;
    for (size_t i = 0; i < N_SOURCE && !spoilt; i++)
        spoilt = json_object_set_new(counts, source_name[i], json_integer(walk.count.n[i])) != 0;
    json_t *all = spoilt ? NULL : json_pack("{s:O, s:O}", "count", counts, "figures", walk.list);
    json_decref(counts);
    json_decref(walk.list);
    return all;
}
