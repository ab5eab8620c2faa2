/*
 * tmpdir.h - a folder of a test group's own: set-up and tear-down for cmocka_run_group_tests.
 */
#ifndef KVS_TMPDIR_H
#define KVS_TMPDIR_H

int tmpdir_make(void **state);
int tmpdir_enter(void **state); /* and makes it the working folder */
int tmpdir_drop(void **state);  /* with all that is in it */
const char *tmpdir(void);       /* its path */

#endif
