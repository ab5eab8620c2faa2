/* sched_fcfs.c - order of arrival. */
#include "sched.h"

extern const struct kvs_sched_ops kvs_sched_fcfs;

const struct kvs_sched_ops kvs_sched_fcfs = {
    .name = "fcfs",
    .help = "order of arrival",
};
