/*
 * farm_mpi.h - a farm over the ranks of an MPI job: rank 0 deals out, the others work.
 */
#ifndef KVS_FARM_MPI_H
#define KVS_FARM_MPI_H

#include "farm.h"

struct kvs_mpi; /* from kvs_mpi_join, ended by kvs_mpi_leave */

/*
 * Joins the MPI job that this process is a rank of; *mpi is NULL if it is none, or the only rank.
 * KVS_ERR_ABSENT if kvsim was built without that MPI.
 */
KVS_MUST_CHECK enum kvs_code kvs_mpi_join(struct kvs_mpi **mpi, struct kvs_err *err);
/* Accepts NULL. failed: ends the other ranks too. */
void kvs_mpi_leave(struct kvs_mpi *mpi, bool failed);
int kvs_mpi_rank(const struct kvs_mpi *mpi);

/* In rank 0; for kvs_sweep_options.deal, mpi is a struct kvs_mpi. */
KVS_MUST_CHECK enum kvs_code kvs_mpi_deal(void *mpi, const struct kvs_farm *farm,
                                          struct kvs_err *err);
/* In the other ranks, until rank 0 has no more. For kvs_sweep_help. */
KVS_MUST_CHECK enum kvs_code kvs_mpi_work(void *mpi, const struct kvs_farm *farm,
                                          struct kvs_err *err);

#endif
