/*
 * jsonfit.h - whether a value fits a JSON Schema: as much of draft 2020-12 as configs/schema uses.
 */
#ifndef KVS_JSONFIT_H
#define KVS_JSONFIT_H

#include <jansson.h>
#include <stdbool.h>

/* false: why names what is wrong and where, innermost key first. */
bool jsonfit(const json_t *schema, const json_t *value, char why[256]);

#endif
