/*
 * mpi_plugin.h - the little of MPI that a sweep needs, so that kvsim itself links to none.
 *
 * kvsim-mpi-openmpi.so and kvsim-mpi-mpich.so are built from mpi_plugin.c where these are found;
 * kvsim opens the one whose mpirun started it. Messages are bytes; every call returns 0, or
 * MPI's error.
 */
#ifndef KVS_MPI_PLUGIN_H
#define KVS_MPI_PLUGIN_H

#include <stddef.h>

struct kvs_mpi_ops {
    int (*begin)(int *rank, int *n_rank);
    int (*send)(int to, const void *data, int n_byte);
    /* A message that has come; *n_byte is -1 if there is none and it does not wait. */
    int (*look)(int wait, int *from, int *n_byte);
    int (*receive)(int from, void *data, int n_byte);
    int (*end)(void);
    void (*abort)(void); /* of all ranks */
};

#define KVS_MPI_SYMBOL "kvs_mpi_plugin" /* a const struct kvs_mpi_ops */

#endif
