/*
 * html.h - a results folder as one HTML file that needs nothing else: words, tables that sort,
 * figures, settings, and every assumption with its source.
 *
 * For folders of `kvsim run` and of `kvsim sweep`; figures are those that lie in plots/.
 */
#ifndef KVS_HTML_H
#define KVS_HTML_H

#include "base/err.h"

/* Writes it to file, whole or not at all. */
KVS_MUST_CHECK enum kvs_code kvs_html_report(const char *dir, const char *file,
                                             struct kvs_err *err);

#endif
