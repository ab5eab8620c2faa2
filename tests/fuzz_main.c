/*
 * Replays a corpus: runs LLVMFuzzerTestOneInput over all files of tests/fuzz/NAME, sorted, where
 * the program is fuzz_NAME, and speaks TAP. The build for libFuzzer (make fuzz) brings its own
 * main.
 */
#ifndef KVS_LIBFUZZER

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

/* In memory of exactly its size, so that a sanitizer sees a read beyond it. */
static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        return -1;
    long n = ftell(file);
    uint8_t *data = n >= 0 ? malloc(n ? (size_t)n : 1) : NULL;
    rewind(file);
    int ok = data && fread(data, 1, (size_t)n, file) == (size_t)n;
    (void)fclose(file); /* was only read */
    if (ok)
        LLVMFuzzerTestOneInput(data, (size_t)n);
    free(data);
    return ok ? 0 : -1;
}

static int no_dots(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    char folder[512], path[1024];
    struct dirent **entry;
    const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;
    name = name ? name + 1 : "fuzz_";
    snprintf(folder, sizeof folder, "tests/fuzz/%s", name + strlen("fuzz_"));
    printf("1..1\n");
    int n = scandir(folder, &entry, no_dots, alphasort), n_bad = n <= 0;
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%.255s", folder, entry[i]->d_name);
        if (replay(path) != 0) {
            printf("# %s: can't be read\n", path);
            n_bad++;
        }
        free(entry[i]);
    }
    if (n >= 0)
        free(entry);
    printf("%sok 1 - %d inputs of %s replayed\n", n_bad ? "not " : "", n > 0 ? n : 0, folder);
    return n_bad != 0;
}

#endif
