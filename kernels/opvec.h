/*
 * opvec.h - operator vectors: seeded cases of every operator, the same for every back end.
 *
 * A case runs on the device under test and on ref, over outputs that began as NaN between guard
 * bytes. Every byte of an output must be ref's, or its number within the case's stated tolerance
 * (diff <= tol, so NaN fails); gaps between rows and the guards must be as they were.
 */
#ifndef KVS_OPVEC_H
#define KVS_OPVEC_H

#include "device.h"

unsigned kvs_opvec_n(void);
/* "attn 65 x 200, 4/2 heads of 64, bf16, paged"; valid until the program ends. */
const char *kvs_opvec_name(unsigned case_i, char buf[160]);
/*
 * KVS_OK: dev agrees with ref. KVS_ERR_DEVICE: it does not, err says where. KVS_ERR_ABSENT: the
 * back end doesn't offer the operator for these types. Others: it could not be run.
 */
KVS_MUST_CHECK enum kvs_code kvs_opvec_run(struct kvs_dev *dev, unsigned case_i,
                                           struct kvs_err *err);

#endif
