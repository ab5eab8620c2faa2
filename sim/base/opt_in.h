/*
 * opt_in.h - what opt.c and opt_argv.c share: texts of what would do, and setting a field.
 */
#ifndef KVS_OPT_IN_H
#define KVS_OPT_IN_H

#include "opt.h"

#define KVS_OPT_ROWS_MAX 128
#define KVS_OPT_WANT_MAX 256

/* " in 1..65536", " from 1 up", or nothing; "one of a, b". */
void kvs_opt_range(const struct kvs_opt *opt, char *buf, size_t room);
void kvs_opt_names(const struct kvs_opt *opt, char *buf, size_t room);
/* What would do; and with the nearest name, if found is none of an option's names. buf is returned.
 */
const char *kvs_opt_want(const struct kvs_opt *opt, char buf[KVS_OPT_WANT_MAX]);
const char *kvs_opt_want_for(const struct kvs_opt *opt, const char *found,
                             char buf[KVS_OPT_WANT_MAX]);
/* The option's field of out. */
void *kvs_opt_field(const struct kvs_opt *opt, void *out);
bool kvs_strs_add(struct kvs_strs *strs, const char *text); /* false: no room */
/* From text: KVS_ERR_PARSE or _RANGE, without a message. Not of KVS_OPT_LIST and _NODE. */
enum kvs_code kvs_opt_set_text(const struct kvs_opt *opt, const char *text, void *out);
void kvs_opt_clear(const struct kvs_opt *opt, void *out); /* nothing is read yet */
void kvs_opt_set_default(const struct kvs_opt *opt, void *out);
bool kvs_opt_may_be_absent(const struct kvs_opt *opt);

#endif
