/*
 * json.h - JSON documents (Jansson) whose every node knows where it stands.
 *
 * A node is a value together with its file and JSON path, so that each complaint reads
 * "w.json: tiers[1].capacity: ...". Nodes are small and passed by value; they borrow from their
 * document. An absent node has v == NULL and still knows its path.
 */
#ifndef KVS_BASE_JSON_H
#define KVS_BASE_JSON_H

#include "err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvs_arena;
struct kvs_doc; /* from kvs_doc_open or kvs_doc_parse, ended by kvs_doc_free */

struct kvs_json {
    const json_t *v;           /* NULL if absent */
    const struct kvs_doc *doc; /* file name, and the memory of path */
    const char *path;          /* "tiers[1].capacity"; "" at the root */
};

/* Duplicate keys, trailing text and depth over 64 are errors; syntax errors name line and column.
 */
KVS_MUST_CHECK enum kvs_code kvs_doc_open(const char *file, struct kvs_doc **doc,
                                          struct kvs_err *err);
/* The same from memory; name stands for the file in messages. */
KVS_MUST_CHECK enum kvs_code kvs_doc_parse(const char *name, const char *text, size_t n_byte,
                                           struct kvs_doc **doc, struct kvs_err *err);
void kvs_doc_free(struct kvs_doc *doc);
struct kvs_json kvs_doc_root(const struct kvs_doc *doc);
const char *kvs_doc_file(const struct kvs_doc *doc);
/* Memory that goes with the document: paths, and what is made of its text. */
struct kvs_arena *kvs_doc_arena(const struct kvs_doc *doc);

/*
 * Sets the value at a path ("cluster.replicas", "tiers[0].capacity", "compare") to the JSON text
 * value; missing objects on the way are made, missing array elements are an error (one past the end
 * appends). A key with odd characters is written ["a.b"]. For --set: messages begin with it. After
 * an error the document is as it was; after success earlier nodes are void. KVS_ERR_PARSE if value
 * is not JSON, KVS_ERR_ARG if the path can't be followed.
 */
KVS_MUST_CHECK enum kvs_code kvs_doc_set(struct kvs_doc *doc, const char *path, const char *value,
                                         struct kvs_err *err);
/* The document as text with sorted keys and 2-space indent; the caller frees it. NULL: no memory.
 */
char *kvs_doc_dump(const struct kvs_doc *doc);

struct kvs_json kvs_json_get(struct kvs_json object,
                             const char *key); /* absent node if not there */
struct kvs_json kvs_json_at(struct kvs_json array, size_t index);
size_t kvs_json_size(struct kvs_json array_or_object); /* 0 if absent */

/* Fails as "FILE: PATH: <your sentence>"; the path of the root reads "(root)". */
enum kvs_code kvs_json_fail(struct kvs_json node, struct kvs_err *err, enum kvs_code code,
                            const char *fmt, ...) KVS_PRINTF(4, 5);

/* Fails with "found <what>, want <want>", or with "missing; want <want>" if node is absent. */
enum kvs_code kvs_json_want(struct kvs_json node, struct kvs_err *err, enum kvs_code code,
                            const char *want);

/* Typed reads; wrong type: "FILE: PATH: found <what>, want <what>". Absent: "missing; want <what>".
 */
KVS_MUST_CHECK enum kvs_code kvs_json_object(struct kvs_json node, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_json_array(struct kvs_json node, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_json_str(struct kvs_json node, const char **text,
                                          struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_json_bool(struct kvs_json node, bool *value, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_json_i64(struct kvs_json node, int64_t min, int64_t max,
                                          int64_t *value, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_json_double(struct kvs_json node, double min, double max,
                                             double *value, struct kvs_err *err);
/* The value of a whole number: 3, and 3.0 or 1e12 too, up to 2^53. false: it is none. */
bool kvs_json_whole(struct kvs_json node, int64_t *value);
/* Every key of object is among names, else "unknown key "x"; did you mean "y"?" with all known
 * keys. */
KVS_MUST_CHECK enum kvs_code kvs_json_only(struct kvs_json object, const char *const *names,
                                           unsigned n, struct kvs_err *err);

#endif
