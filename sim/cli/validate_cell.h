/*
 * validate_cell.h - `kvsim validate`: reading a cell, which is JSON from the moment it was
 * measured.
 */
#ifndef KVS_VALIDATE_CELL_H
#define KVS_VALIDATE_CELL_H

#include "validate.h"

static inline double kvs_val_number(const json_t *cell, const char *key)
{
    return json_number_value(json_object_get(cell, key));
}

static inline const char *kvs_val_text(const json_t *cell, const char *key)
{
    const char *value = json_string_value(json_object_get(cell, key));

    return value ? value : "";
}

static inline bool kvs_val_flag(const json_t *cell, const char *key)
{
    return json_is_true(json_object_get(cell, key));
}

static inline double kvs_val_part(const json_t *cell, const char *key, const char *stage)
{
    return kvs_val_number(json_object_get(cell, key), stage);
}

#endif
