/*
 * admit_list.h - the admission rules, one line each; the first is the default.
 *
 * No include guard: it is included where X is defined.
 */
X(always)
X(touched)
X(random)
