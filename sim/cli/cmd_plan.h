/*
 * cmd_plan.h - `kvsim plan`: what its two halves share.
 */
#ifndef KVS_CMD_PLAN_H
#define KVS_CMD_PLAN_H

#include "plan_case.h"

/* Plans every problem of options->instances and checks the plans; prints a row each. */
KVS_MUST_CHECK enum kvs_code kvs_plan_instances(const struct kvs_plan_options *options,
                                                const struct kvs_planner_ops *planner,
                                                struct kvs_err *err);

#endif
