/*
 * signals.h - orderly ends: a command that leaves something half made when it is killed asks now
 * and then whether a signal came, cleans up and ends with an error; main then ends with 128 + it.
 */
#ifndef KVS_SIGNALS_H
#define KVS_SIGNALS_H

#include <stdbool.h>

/* From now on SIGINT, SIGTERM and SIGHUP (unless nohup ignores it) are noted; a second one kills.
 */
void kvs_catch_signals(void);
bool kvs_interrupted(void);
int kvs_signal(void); /* the one that came; 0: none */

#endif
