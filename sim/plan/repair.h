/*
 * repair.h - what moved text may be repaired by, and what that loses: from a quality table to the
 * menu of a plan problem. CacheBlend and EPIC have a method and shares of their own; all other
 * planners choose from the same shares of a method that is named.
 */
#ifndef KVS_PLAN_REPAIR_H
#define KVS_PLAN_REPAIR_H

#include "model/quality.h"
#include "tables.h"

#define KVS_REPAIR_SHARES 8

struct kvs_repair_menu {
    double frac[KVS_REPAIR_SHARES];
    int64_t distortion[KVS_REPAIR_SHARES];
    uint32_t first_tok;
};

/* The method that a planner's loss follows: its own, or else the one named. */
const char *kvs_repair_method(const struct kvs_planner_ops *planner, const char *named);
/* false: the table, or NULL, has no such method; what stays as it is then loses more than any
 * budget. planner NULL: one without a method of its own. */
bool kvs_repair_menu_of(const struct kvs_quality *quality, const struct kvs_planner_ops *planner,
                        const char *named, struct kvs_repair_menu *menu);
/* It borrows from the menu. */
struct kvs_table_repair kvs_repair_table(const struct kvs_repair_menu *menu);

#endif
