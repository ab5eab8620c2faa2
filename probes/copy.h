/*
 * copy.h - copies between host and device through the CUDA driver library, opened at run time.
 *
 * Nothing of CUDA is needed to build or start: where the library or a device is missing, opening
 * says what is missing, and the profile says unavailable with that reason. NVML and cuFile are
 * looked for in the same way.
 */
#ifndef KVS_PROBES_COPY_H
#define KVS_PROBES_COPY_H

#include "measure.h"

struct kvs_copy; /* from kvs_copy_open, ended by kvs_copy_close */

/* lib_dir: folder of the vendor's libraries, for tests; NULL: where the system has them, never a
 * folder of stubs. KVS_ERR_ABSENT with the reason: no library, no device. Copies are checked once.
 */
KVS_MUST_CHECK enum kvs_code kvs_copy_open(const char *lib_dir, int device,
                                           const volatile int *stop, struct kvs_copy **copy,
                                           struct kvs_err *err);
void kvs_copy_close(struct kvs_copy *copy); /* accepts NULL */

/* A kvs_run_fn: copy.h2d, copy.d2h, copy.both; params.host pinned or pageable; depth copies are
 * queued before each wait, whose length on the host's clock the histogram holds; the rate is by the
 * device's own clock (events around what was queued). */
enum kvs_code kvs_copy_run(void *copy, struct kvs_point *point, double secs,
                           struct kvs_sample *sample, struct kvs_err *err);

/* For who fills device memory in another way: the buffer that copies to the device land in; and its
 * bytes back on the host. */
unsigned long long kvs_copy_device_buf(const struct kvs_copy *copy, size_t *n_byte);
KVS_MUST_CHECK enum kvs_code kvs_copy_fetch(struct kvs_copy *copy, size_t at, void *to,
                                            size_t n_byte, struct kvs_err *err);
/* The device's place as topology.h writes it, "0000:10:1c.0"; "" if the driver does not tell. */
void kvs_copy_pci(const struct kvs_copy *copy, char pci[16]);

/* {"cuda": {"status": ..., "reason": ...}, "nvml": ..., "cufile": ...} of lib_dir (NULL: system).
 */
json_t *kvs_copy_backends_in(const char *lib_dir);

#endif
