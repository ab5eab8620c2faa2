#include "data.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOT_MAX 5

/* The folders that are searched, in order; free each. */
struct roots {
    unsigned n;
    char *path[ROOT_MAX];
};

static char *join(const char *a, const char *b)
{
    char *path;
    return asprintf(&path, "%s/%s", a, b) < 0 ? NULL : path;
}

static void add_root(struct roots *roots, char *path)
{
    if (path)
        roots->path[roots->n++] = path;
}

/* Takes the last name off an absolute path; the root stays. */
static void go_up(char *path)
{
    char *last = strrchr(path, '/');
    if (last)
        last[last == path ? 1 : 0] = '\0';
}

/* build/kvsim has ../configs, build/tests/test_x has ../../configs, bin/kvsim ../share/kvsim. */
static void find_roots(struct roots *roots)
{
    char exe[4096];
    const char *env = getenv("KVSIM_DATA");
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    *roots = (struct roots){0};
    if (env && *env)
        add_root(roots, strdup(env));
    if (n > 0) {
        exe[n] = '\0';
        go_up(exe);
        go_up(exe);
        add_root(roots, strdup(exe));
        add_root(roots, join(exe, "share/kvsim"));
        go_up(exe);
        add_root(roots, strdup(exe));
    }
    add_root(roots, strdup(KVS_DATADIR));
}

static void free_roots(struct roots *roots)
{
    for (unsigned i = 0; i < roots->n; i++)
        free(roots->path[i]);
}

/* --- names --- */

static bool add_name(char ***names, size_t *n, char *name)
{
    char **more = name ? realloc(*names, (*n + 2) * sizeof **names) : NULL;
    if (!more) {
        free(name);
        return false;
    }
    *names = more;
    more[(*n)++] = name;
    more[*n] = NULL;
    return true;
}

/* NAME of an entry NAME.json; NULL if it is none. */
static size_t stem_length(const char *entry)
{
    size_t n = strlen(entry);
    return entry[0] != '.' && n > 5 && strcmp(entry + n - 5, ".json") == 0 ? n - 5 : 0;
}

static bool add_folder(char ***names, size_t *n, const char *folder)
{
    DIR *dir = opendir(folder);
    bool ok = true;
    if (!dir)
        return true; /* not every root has it */
    for (struct dirent *entry; ok && (entry = readdir(dir));) {
        size_t n_stem = stem_length(entry->d_name);
        if (n_stem)
            ok = add_name(names, n, strndup(entry->d_name, n_stem));
    }
    closedir(dir);
    return ok;
}

static int cmp_str(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void drop_repeats(char **names, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept && strcmp(names[kept - 1], names[i]) == 0)
            free(names[i]);
        else
            names[kept++] = names[i];
    }
    names[kept] = NULL;
}

char **kvs_data_names(const char *folder)
{
    struct roots roots;
    size_t n = 0;
    char **names = calloc(1, sizeof *names);
    bool ok = names != NULL;
    find_roots(&roots);
    for (unsigned i = 0; ok && i < roots.n; i++) {
        char *path = join(roots.path[i], folder);
        ok = path && add_folder(&names, &n, path);
        free(path);
    }
    free_roots(&roots);
    if (!ok) {
        kvs_data_names_free(names);
        return NULL;
    }
    qsort(names, n, sizeof *names, cmp_str);
    drop_repeats(names, n);
    return names;
}

void kvs_data_names_free(char **names)
{
    for (char **name = names; name && *name; name++)
        free(*name);
    free(names);
}

/* --- files --- */

static bool plain_name(const char *name)
{
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-+", *c))
            return false;
    return *name && *name != '.';
}

static char *find_in(const char *root, const char *folder, const char *name)
{
    char *path;
    if (asprintf(&path, "%s/%s/%s.json", root, folder, name) < 0)
        return NULL;
    if (access(path, R_OK) != 0) {
        free(path);
        return NULL;
    }
    return path;
}

static enum kvs_code unknown(const char *kind, const char *folder, const char *name,
                             struct kvs_err *err)
{
    char known[400];
    unsigned n = 0;
    char **names = kvs_data_names(folder);
    if (!names)
        return kvs_nomem(err);
    while (names[n])
        n++;
    kvs_fail(err, KVS_ERR_ARG, "%s \"%.80s\" is not known%s", kind, name,
             kvs_known(known, sizeof known, name, (const char *const *)names, n));
    kvs_data_names_free(names);
    return KVS_ERR_ARG;
}

enum kvs_code kvs_data_find(const char *kind, const char *folder, const char *name_or_file,
                            char **path, struct kvs_err *err)
{
    struct roots roots;
    *path = NULL;
    if (strchr(name_or_file, '/') || stem_length(name_or_file)) {
        *path = strdup(name_or_file);
        return *path ? KVS_OK : kvs_nomem(err);
    }
    if (!plain_name(name_or_file))
        return unknown(kind, folder, name_or_file, err);
    find_roots(&roots);
    for (unsigned i = 0; !*path && i < roots.n; i++)
        *path = find_in(roots.path[i], folder, name_or_file);
    free_roots(&roots);
    return *path ? KVS_OK : unknown(kind, folder, name_or_file, err);
}

enum kvs_code kvs_data_file(const char *file, char **path, struct kvs_err *err)
{
    struct roots roots;
    bool nomem = false;
    *path = NULL;
    find_roots(&roots);
    for (unsigned i = 0; !*path && !nomem && i < roots.n; i++) {
        *path = join(roots.path[i], file);
        nomem = !*path;
        if (*path && access(*path, R_OK) != 0) {
            free(*path);
            *path = NULL;
        }
    }
    free_roots(&roots);
    if (nomem)
        return kvs_nomem(err);
    return *path ? KVS_OK
                 : kvs_fail(err, KVS_ERR_ABSENT,
                            "%s is not there: neither beside the program nor in " KVS_DATADIR
                            "; set KVSIM_DATA to the folder that holds it",
                            file);
}

char *kvs_path_from(const char *base_file, const char *file)
{
    const char *slash = strrchr(base_file, '/');
    char *path;
    if (*file == '/' || !slash)
        return strdup(file);
    return asprintf(&path, "%.*s/%s", (int)(slash - base_file), base_file, file) < 0 ? NULL : path;
}
