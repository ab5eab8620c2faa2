#include "mpi_plugin.h"

#include <mpi.h>

enum { TAG = 1 };

static int begin(int *rank, int *n_rank)
{
    int code = MPI_Init(NULL, NULL);
    if (!code)
        code = MPI_Comm_rank(MPI_COMM_WORLD, rank);
    return code ? code : MPI_Comm_size(MPI_COMM_WORLD, n_rank);
}

static int send(int to, const void *data, int n_byte)
{
    return MPI_Send(data, n_byte, MPI_BYTE, to, TAG, MPI_COMM_WORLD);
}

static int look(int wait, int *from, int *n_byte)
{
    MPI_Status status;
    int there = 1;
    int code = wait ? MPI_Probe(MPI_ANY_SOURCE, TAG, MPI_COMM_WORLD, &status)
                    : MPI_Iprobe(MPI_ANY_SOURCE, TAG, MPI_COMM_WORLD, &there, &status);
    *n_byte = -1;
    if (code || !there)
        return code;
    *from = status.MPI_SOURCE;
    return MPI_Get_count(&status, MPI_BYTE, n_byte);
}

static int receive(int from, void *data, int n_byte)
{
    return MPI_Recv(data, n_byte, MPI_BYTE, from, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static int end(void)
{
    return MPI_Finalize();
}

static void abort_all(void)
{
    (void)MPI_Abort(MPI_COMM_WORLD, 1);
}

extern const struct kvs_mpi_ops kvs_mpi_plugin;
const struct kvs_mpi_ops kvs_mpi_plugin = {begin, send, look, receive, end, abort_all};
