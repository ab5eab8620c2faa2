#include "gnuplot.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum kvs_code kvs_gnuplot(const char *script, const char *dir, struct kvs_err *err)
{
    extern char **environ;
    char name[] = "gnuplot", flag[] = "-e", set_dir[4200], file[4200];
    char *const argv[] = {name, flag, set_dir, file, NULL};
    pid_t pid;
    int status;
    snprintf(file, sizeof file, "%s", script);
    if (strchr(dir, '\'') ||
        (size_t)snprintf(set_dir, sizeof set_dir, "dir='%s'", dir) >= sizeof set_dir)
        return kvs_fail(err, KVS_ERR_ARG, "--plot: %.80s: gnuplot can't take this folder's name",
                        dir);
    int failed = posix_spawnp(&pid, name, NULL, NULL, argv, environ);
    if (failed == ENOENT)
        return kvs_fail(err, KVS_ERR_ABSENT, "gnuplot is not there (package gnuplot-nox)");
    if (failed)
        return kvs_fail(err, KVS_ERR_IO, "gnuplot: %s", strerror(failed));
    if (waitpid(pid, &status, 0) != pid || status != 0)
        return kvs_fail(err, KVS_ERR_IO, "gnuplot failed on %.200s", script);
    return KVS_OK;
}
