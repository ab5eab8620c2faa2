#include "jsonfit.h"

#include "test.h"

#include <stdio.h>
#include <string.h>

static bool fits(const json_t *root, const json_t *schema, const json_t *v, char why[256]);

static bool is_type(const json_t *v, const char *type)
{
    bool whole = json_is_real(v) && json_real_value(v) == (double)(long long)json_real_value(v);
    return (strcmp(type, "object") == 0 && json_is_object(v)) ||
           (strcmp(type, "array") == 0 && json_is_array(v)) ||
           (strcmp(type, "string") == 0 && json_is_string(v)) ||
           (strcmp(type, "boolean") == 0 && json_is_boolean(v)) ||
           (strcmp(type, "null") == 0 && json_is_null(v)) ||
           (strcmp(type, "number") == 0 && json_is_number(v)) ||
           (strcmp(type, "integer") == 0 && (json_is_integer(v) || whole));
}

static bool fits_type(const json_t *type, const json_t *v)
{
    size_t i;
    json_t *one;
    if (!type)
        return true;
    if (json_is_string(type))
        return is_type(v, json_string_value(type));
    json_array_foreach(type, i, one) if (is_type(v, json_string_value(one))) return true;
    return false;
}

static bool fits_value(const json_t *schema, const json_t *v)
{
    size_t i;
    json_t *one, *names = json_object_get(schema, "enum"), *only = json_object_get(schema, "const");
    const json_t *min = json_object_get(schema, "minimum"),
                 *max = json_object_get(schema, "maximum");
    if (only && !json_equal(only, v))
        return false;
    if (json_is_number(v) && min && json_number_value(v) < json_number_value(min))
        return false;
    if (json_is_number(v) && max && json_number_value(v) > json_number_value(max))
        return false;
    if (!names)
        return true;
    json_array_foreach(names, i, one) if (json_equal(one, v)) return true;
    return false;
}

static bool fits_object(const json_t *root, const json_t *schema, const json_t *v, char why[256])
{
    const json_t *properties = json_object_get(schema, "properties");
    json_t *required = json_object_get(schema, "required"), *one;
    const char *key;
    size_t i;
    json_array_foreach(required, i, one)
    {
        if (!json_object_get(v, json_string_value(one))) {
            snprintf(why, 256, "\"%s\" is missing", json_string_value(one));
            return false;
        }
    }
    json_object_foreach((json_t *)v, key, one)
    {
        const json_t *inner = json_object_get(properties, key);
        if (!inner && json_is_false(json_object_get(schema, "additionalProperties"))) {
            snprintf(why, 256, "\"%.80s\" is not in the schema", key);
            return false;
        }
        if (inner && !fits(root, inner, one, why)) {
            size_t n = strlen(why);
            snprintf(why + n, 256 - n, " in \"%.80s\"", key);
            return false;
        }
    }
    return true;
}

static bool fits_array(const json_t *root, const json_t *schema, const json_t *v, char why[256])
{
    const json_t *items = json_object_get(schema, "items");
    const json_t *max = json_object_get(schema, "maxItems");
    const json_t *min = json_object_get(schema, "minItems");
    size_t n = json_array_size(v);
    if ((max && n > (size_t)json_integer_value(max)) ||
        (min && n < (size_t)json_integer_value(min)))
        return false;
    for (size_t i = 0; items && i < n; i++)
        if (!fits(root, items, json_array_get(v, i), why))
            return false;
    return true;
}

static bool fits(const json_t *root, const json_t *schema, const json_t *v, char why[256])
{
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    if (ref) {
        assert_int_equal(strncmp(ref, "#/$defs/", 8), 0);
        schema = json_object_get(json_object_get(root, "$defs"), ref + 8);
        assert_non_null(schema);
    }
    if (!fits_type(json_object_get(schema, "type"), v) || !fits_value(schema, v)) {
        snprintf(why, 256, "wrong type or value");
        return false;
    }
    if (json_is_object(v))
        return fits_object(root, schema, v, why);
    return json_is_array(v) ? fits_array(root, schema, v, why) : true;
}

bool jsonfit(const json_t *schema, const json_t *value, char why[256])
{
    return fits(schema, schema, value, why);
}
