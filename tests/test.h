/*
 * test.h - what every test program includes: cmocka with its preconditions, and the shared data.
 */
#ifndef KVS_TEST_H
#define KVS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The path of a file of the shared folder ($KVS_SHARED, ../shared), or NULL if it is not there; a
 * static buffer. */
const char *kvs_shared(const char *name);

/* Skips the running test, loudly: run.sh prints the reason. */
#define KVS_SKIP(...)                                                                              \
    do {                                                                                           \
        print_message("# skip: " __VA_ARGS__);                                                     \
        print_message("\n");                                                                       \
        skip();                                                                                    \
    } while (0)

#endif
