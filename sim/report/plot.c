#include "plot.h"

#include "base/data.h"
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 300 /* of gnuplot's complaint */

const char *const kvs_figure_name[] = {"ttft_cdf",       "ttft_stack", "hits_over_time",
                                       "busy_over_time", "crossover",  NULL};

extern char **environ;

static enum kvs_code no_memory(struct kvs_err *err)
{
    return kvs_nomem(err);
}

/* Is there a program of this name on the PATH? */
static bool on_path(const char *program)
{
    const char *path = getenv("PATH");
    for (const char *at = path ? path : ""; *at;) {
        size_t n = strcspn(at, ":");
        char *file = NULL;
        bool found =
            asprintf(&file, "%.*s/%s", (int)n, at, program) >= 0 && access(file, X_OK) == 0;
        free(file);
        if (found)
            return true;
        at += n + (at[n] == ':');
    }
    return false;
}

/* What a program says on pipe until it closes it: the first WORDS_MAX bytes, in one line. */
static void read_words(int pipe, char words[WORDS_MAX + 1])
{
    char buf[512];
    size_t used = 0;
    for (ssize_t n; (n = read(pipe, buf, sizeof buf)) != 0;) {
        if (n < 0 && errno != EINTR)
            break;
        for (ssize_t i = 0; i < n && used < WORDS_MAX; i++)
            if (used || (buf[i] != '\n' && buf[i] != ' '))
                words[used++] = buf[i] == '\n' ? ' ' : buf[i];
    }
    while (used && words[used - 1] == ' ')
        used--;
    words[used] = '\0';
}

/* Runs argv in folder; its standard output and error go to words. The wait status, or -1 (errno).
 */
static int run_in(const char *folder, char *const *argv, char words[WORDS_MAX + 1])
{
    int ends[2], status = -1;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    words[0] = '\0';
    if (pipe2(ends, O_CLOEXEC))
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, folder);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    int failed = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (failed) {
        errno = failed;
    } else {
        read_words(ends[0], words);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    close(ends[0]);
    return status;
}

/* Appends text to a gnuplot string in single quotes, whose marks for _, ^ and the like it escapes.
 */
static size_t put_plain(char *to, size_t n, size_t room, const char *text)
{
    for (const char *c = text; *c && n + 4 < room; c++) {
        if (strchr("\\_^{}@&~", *c))
            to[n++] = '\\';
        to[n++] = *c;
        if (*c == '\'')
            to[n++] = *c;
    }
    to[n] = '\0';
    return n;
}

/* "quickstart: llama-3.1-8b on h100-sxm" for gnuplot; the caller frees it. */
static char *title_of(struct kvs_json root)
{
    static const char *const key[] = {"workload", "model", "hardware"};
    static const char *const after[] = {": ", " on ", ""};
    char text[400] = "";
    size_t n = 0;
    for (int i = 0; i < 3; i++) {
        const char *value = json_string_value(kvs_json_get(root, key[i]).v);
        n = put_plain(text, n, sizeof text, value ? value : "?");
        n = put_plain(text, n, sizeof text, after[i]);
    }
    return strdup(text);
}

/* Whether a drawing has its end: gnuplot does not say that a disk was full. */
static bool is_whole(const char *path, const char *ending)
{
    static const char svg[] = "</svg>", png[] = "IEND\xae"
                                                "B`\x82";
    const char *end = strcmp(ending, "svg") == 0 ? svg : png;
    char tail[64];
    FILE *from = fopen(path, "rb");
    size_t n = 0;
    if (from) {
        if (fseek(from, -(long)sizeof tail, SEEK_END) == 0)
            n = fread(tail, 1, sizeof tail, from);
        fclose(from);
    }
    return n && memmem(tail, n, end, strlen(end));
}

static enum kvs_code rename_drawing(const char *folder, const char *name, const char *ending,
                                    struct kvs_err *err)
{
    char *from = NULL, *to = NULL;
    enum kvs_code code = KVS_OK;
    if (asprintf(&from, "%s/.new-%s.%s", folder, name, ending) < 0 ||
        asprintf(&to, "%s/%s.%s", folder, name, ending) < 0)
        code = no_memory(err);
    else if (!is_whole(from, ending))
        code = kvs_fail(err, KVS_ERR_IO, "%s: gnuplot could not write all of it; is the disk full?",
                        to);
    else if (rename(from, to))
        code = kvs_fail(err, KVS_ERR_IO, "%s: %s", to, strerror(errno));
    if (code && from)
        (void)unlink(from);
    free(from);
    free(to);
    return code;
}

static enum kvs_code draw(const char *folder, const char *name, const char *title,
                          struct kvs_err *err)
{
    char file[64], words[WORDS_MAX + 1];
    char *script = NULL, *set = NULL;
    snprintf(file, sizeof file, "plots/%s.gp", name);
    enum kvs_code code = kvs_data_file(file, &script, err);
    if (code)
        return code;
    if (asprintf(&set, "out='.new-%s'; heading='%s'", name, title) < 0) {
        free(script);
        return no_memory(err);
    }
    char program[] = "gnuplot", flag[] = "-e";
    char *const argv[] = {program, flag, set, script, NULL};
    int status = run_in(folder, argv, words);
    if (status == -1)
        code = kvs_fail(err, KVS_ERR_IO, "gnuplot: %s", strerror(errno));
    else if (status)
        code = kvs_fail(err, KVS_ERR_IO, "gnuplot %s: %s", script,
                        *words ? words : "it failed and said nothing");
    free(set);
    free(script);
    enum kvs_code svg = rename_drawing(folder, name, "svg", code ? NULL : err);
    enum kvs_code png = rename_drawing(folder, name, "png", code || svg ? NULL : err);
    return code ? code : svg ? svg : png;
}

static enum kvs_code draw_all(const char *folder, struct kvs_json root, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    char *title = title_of(root);
    if (!title)
        return no_memory(err);
    for (int i = 0; kvs_figure_name[i] && !code; i++) {
        char *data = NULL;
        if (asprintf(&data, "%s/%s.csv", folder, kvs_figure_name[i]) < 0)
            code = no_memory(err);
        else if (access(data, R_OK) == 0)
            code = draw(folder, kvs_figure_name[i], title, err);
        free(data);
    }
    free(title);
    return code;
}

static enum kvs_code no_gnuplot(struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_ABSENT,
                    "gnuplot is not there, so no figure is drawn (package gnuplot-nox)");
}

enum kvs_code kvs_plot_figure(const char *folder, const char *name, const char *title,
                              struct kvs_err *err)
{
    char text[400];
    put_plain(text, 0, sizeof text, title);
    return on_path("gnuplot") ? draw(folder, name, text, err) : no_gnuplot(err);
}

enum kvs_code kvs_plot(const char *dir, struct kvs_err *err)
{
    struct kvs_doc *summary = NULL;
    char *folder = NULL, *file = NULL;
    enum kvs_code code;
    if (!on_path("gnuplot"))
        return no_gnuplot(err);
    if (asprintf(&folder, "%s/plots", dir) < 0 || asprintf(&file, "%s/summary.json", dir) < 0)
        code = no_memory(err);
    else if (access(file, R_OK))
        code = kvs_fail(err, KVS_ERR_ARG, "%s: no results folder of kvsim: %s is not there", dir,
                        file);
    else if (!(code = kvs_doc_open(file, &summary, err)))
        code = draw_all(folder, kvs_doc_root(summary), err);
    kvs_doc_free(summary);
    free(folder);
    free(file);
    return code;
}
