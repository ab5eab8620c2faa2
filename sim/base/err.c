#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kvs_code kvs_fail(struct kvs_err *err, enum kvs_code code, const char *fmt, ...)
{
    if (err && err->code == KVS_OK) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->msg, sizeof err->msg, fmt, args);
        va_end(args);
        err->code = code;
    }
    return code;
}

int kvs_exit_status(enum kvs_code code)
{
    switch (code) {
    case KVS_OK:
        return 0;
    case KVS_ERR_ARG:
    case KVS_ERR_PARSE:
    case KVS_ERR_RANGE:
        return 2;
    case KVS_ERR_ABSENT:
        return 3;
    case KVS_ERR_NOMEM:
    case KVS_ERR_IO:
    case KVS_ERR_DEVICE:
        break;
    }
    return 1;
}
