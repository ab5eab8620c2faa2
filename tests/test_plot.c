/* Figures drawn by gnuplot: whole or not at all. */
#include "report/plot.h"
#include "study/front.h"
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/kvsim-plot-XXXXXX";

static int enter_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder) || chdir(folder))
        return -1;
    FILE *to = fopen("cost_front.csv", "w");
    if (!to)
        return -1;
    fputs("configuration,cost_per_h,ttft_p99_s,goodput_req_per_s,meets,front,cheapest,busiest\n"
          "\"a\",1,0.9,2,0,1,0,GPU\n\"b\",2,0.4,2,1,1,1,GPU\n\"c\",3,0.5,2,1,0,0,nvme\n",
          to);
    return fclose(to);
}

static int leave_folder(void **state)
{
    (void)state;
    (void)unlink("cost_front.csv");
    (void)unlink("cost_front.svg");
    (void)unlink("cost_front.png");
    return chdir("/") || rmdir(folder) ? -1 : 0; /* nothing else is left there */
}

static off_t size_of(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? about.st_size : -1;
}

static void a_searchs_table_is_drawn(void **state)
{
    struct kvs_err err = {0};
    (void)state;
    assert_true(kvs_front_has("."));
    assert_false(kvs_front_has("/"));
    if (kvs_plot_figure(".", "cost_front", "a search", &err) == KVS_ERR_ABSENT)
        KVS_SKIP("no gnuplot");
    assert_string_equal(err.msg, "");
    assert_true(size_of("cost_front.svg") > 5000 && size_of("cost_front.png") > 5000);
}

/* Files may have 4,000 bytes, as if the disk were full from there on: an error, and the drawings of
 * before stay. */
static void a_drawing_cut_short_is_no_drawing(void **state)
{
    const struct rlimit little = {4000, RLIM_INFINITY};
    struct rlimit usual;
    struct kvs_err err = {0};
    const off_t svg = size_of("cost_front.svg"), png = size_of("cost_front.png");
    (void)state;
    if (svg < 0)
        KVS_SKIP("no gnuplot");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &usual), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    const enum kvs_code code = kvs_plot_figure(".", "cost_front", "a search", &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &usual), 0);
    assert_int_equal(code, KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "gnuplot"));
    assert_int_equal(size_of("cost_front.svg"), svg);
    assert_int_equal(size_of("cost_front.png"), png);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_searchs_table_is_drawn),
        cmocka_unit_test(a_drawing_cut_short_is_no_drawing),
    };
    return cmocka_run_group_tests_name("plot", tests, enter_folder, leave_folder);
}
