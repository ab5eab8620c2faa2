/*
 * tmpdir.h - a folder of a test group's own: set-up and tear-down for cmocka_run_group_tests.
 */
#ifndef KVS_TMPDIR_H
#define KVS_TMPDIR_H

int tmpdir_make(void **state);
int tmpdir_enter(void **state); /* and makes it the working folder */
int tmpdir_drop(void **state);  /* with all that is in it */
const char *tmpdir(void);       /* its path */
/* A text file by its name in the folder, or by its whole path; what fails fails the test. */
void tmpdir_write(const char *name, const char *text);
char *tmpdir_read(const char *name); /* below 1 MiB; the caller frees it */

#endif
