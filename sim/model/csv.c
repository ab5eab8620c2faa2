#include "csv.h"

#include <stddef.h>

/* Takes the quotes off a field that begins with one; returns what follows it, NULL if it is broken.
 */
static char *unquote(char *at)
{
    char *to = at;
    for (at++; *at; at++) {
        if (*at == '"') {
            if (at[1] != '"')
                break;
            at++;
        }
        *to++ = *at;
    }
    if (*at != '"' || (at[1] != ',' && at[1] != '\0'))
        return NULL;
    at++;
    *to = '\0'; /* at or before the closing quote */
    return at;
}

unsigned kvs_csv_split(char *line, char **field, unsigned max, unsigned *bad)
{
    unsigned n = 0;
    char *at = line;
    *bad = 0;
    for (;;) {
        if (n == max)
            return max + 1;
        field[n++] = at;
        char *end = at;
        if (*at == '"') {
            end = unquote(at);
            if (!end) {
                *bad = n;
                return 0;
            }
        } else {
            while (*end && *end != ',')
                end++;
        }
        if (*end == '\0')
            return n;
        *end = '\0';
        at = end + 1;
    }
}
