/*
 * throttle.h - the kernel's block-I/O throttle (cgroup v1 blkio) on the disk under /tmp: a disk of
 * known speed, for tests and benchmarks that run as root.
 */
#ifndef KVS_TESTS_THROTTLE_H
#define KVS_TESTS_THROTTLE_H

#include <stdbool.h>

#define KVS_THROTTLE_MAX 96

/* A group of this process's own. false: no such throttle that we may use. */
bool kvs_throttle_make(char group[KVS_THROTTLE_MAX]);
/* Puts the calling process, and children that it will have, under the throttle: file is
 * "blkio.throttle.read_bps_device" or its like. Leaving means ending. false: this disk has none. */
bool kvs_throttle_enter(const char *group, const char *file, double cap);
void kvs_throttle_remove(const char *group); /* once all in it have ended */

#endif
