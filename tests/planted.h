/*
 * planted.h - whether a kernel's source has a planted bug at every place where one could be
 * missing.
 */
#ifndef KVS_TESTS_PLANTED_H
#define KVS_TESTS_PLANTED_H

enum { PLANTED_IDS = 128 };

/*
 * Reads kernels/ops/NAME.cu: a line with one of the marks (NULL-ended) has a KVS_MUT on it or on
 * the line before or after, or the test fails. Adds to n_planted how often each number is planted;
 * the lines with a mark.
 */
unsigned planted_lines(const char *name, const char *const *marks, unsigned n_planted[PLANTED_IDS]);
/* Barriers, waits, shuffles and votes. */
extern const char *const planted_waits[];

#endif
