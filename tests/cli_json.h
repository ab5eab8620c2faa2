/*
 * cli_json.h - runs the kvsim program of this build ($KVSIM) and looks at what it prints.
 */
#ifndef KVS_CLI_JSON_H
#define KVS_CLI_JSON_H

#include <jansson.h>

/* Standard output of `kvsim ARGS` as JSON; fails the running test unless it ends with status 0. */
json_t *kvs_cli_json(const char *args);
/* The same with any status, -1 when a signal ended it. */
json_t *kvs_cli_json_any(const char *args, int *status);
/* The same as text, in a static buffer. */
const char *kvs_cli_text(const char *args);
/* `kvsim ARGS`: its status, and what it wrote to standard error, in a static buffer. */
const char *kvs_cli_error(const char *args, int *status);
/* A number of an object; the running test fails where there is none. */
double kvs_cli_number(const json_t *object, const char *key);
/* TTFT of the plan in an answer of `kvsim plan --json`. */
double kvs_cli_ttft_s(const json_t *answer);
/* The row of a policy in the same; the running test fails where there is none. */
const json_t *kvs_cli_policy(const json_t *answer, const char *policy);
/*
 * Every key of the object want (JSON text) stands in got with the same value: integers exactly,
 * reals to six digits, objects likewise. Else the running test fails and says where.
 */
void kvs_cli_expect(const json_t *got, const char *want);

#endif
