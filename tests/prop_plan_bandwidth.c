/* --bandwidth of `kvsim plan`: the rate of one link, over prompts drawn at random. */
#include "test.h"

#include "base/rng.h"
#include "cli_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_SEED 6
#define CLOSE .002

/* A prompt without its machine, which is `hardware`. */
static void draw(uint64_t seed, const char **hardware, char *args, size_t size)
{
    static const char *const model[] = {"llama-3.1-8b", "mistral-7b", "smollm2-135m"};
    static const char *const machine[] = {"h100-sxm", "h800-8", "rtx-4090", "b200", "a100-80g"};
    static const char *const tier[] = {"nvme", "remote", "dram"};
    static const char *const more[] = {"", " -b 0.03", "", " --tp 2"};
    struct kvs_rng rng = kvs_rng_stream(seed, "bandwidth");
    const char *m = model[kvs_rng_below(&rng, 3)];

    *hardware = machine[kvs_rng_below(&rng, 5)];
    snprintf(args, size, "-m %s -c %u -n %u -t %s%s", m, 500 + (unsigned)kvs_rng_below(&rng, 40000),
             1 + (unsigned)kvs_rng_below(&rng, 300), tier[kvs_rng_below(&rng, 3)],
             strcmp(m, "smollm2-135m") == 0 ? "" : more[kvs_rng_below(&rng, 4)]);
}

static json_t *plan(const char *hardware, const char *args, const char *bandwidth)
{
    char line[600];

    snprintf(line, sizeof line, "plan -p optimal --json -H %s %s%s%s", hardware, args,
             bandwidth ? " --bandwidth " : "", bandwidth ? bandwidth : "");
    return kvs_cli_json(line);
}

/* "44.2GB/s", as the words have it. */
static void said_rate(const json_t *answer, char rate[32])
{
    const char *words = json_string_value(json_array_get(json_object_get(answer, "words"), 2));
    const char *is = strstr(words, " has ");
    double value;
    char unit[8];

    assert_non_null(is);
    assert_int_equal(sscanf(is, " has %lf %4s", &value, unit), 2);
    snprintf(rate, 32, "%.9g%s", value, unit);
}

static void the_rate_that_is_said_is_the_one_here_and_twice_it_is_no_slower(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++) {
        char args[300], rate[32];
        const char *hardware;

        draw(seed, &hardware, args, sizeof args);
        json_t *here = plan(hardware, args, NULL);
        said_rate(here, rate);
        json_t *same = plan(hardware, args, rate);
        snprintf(rate, sizeof rate, "%.0f", 2 * kvs_cli_number(here, "bandwidth_bytes_per_s"));
        json_t *twice = plan(hardware, args, rate);

        if (!(fabs(kvs_cli_ttft_s(same) / kvs_cli_ttft_s(here) - 1) <= CLOSE))
            fail_msg("-H %s %s: %.9g s, with --bandwidth as said %.9g s", hardware, args,
                     kvs_cli_ttft_s(here), kvs_cli_ttft_s(same));
        if (!(kvs_cli_ttft_s(twice) <= kvs_cli_ttft_s(here) * (1 + CLOSE)))
            fail_msg("-H %s %s: %.9g s, at twice the rate %.9g s", hardware, args,
                     kvs_cli_ttft_s(here), kvs_cli_ttft_s(twice));
        json_decref(here);
        json_decref(same);
        json_decref(twice);
    }
}

static double knob(const json_t *answer, const char *name, const char *side)
{
    size_t i;
    const json_t *row;

    json_array_foreach(json_object_get(answer, "sensitivity"), i,
                       row) if (strcmp(json_string_value(json_object_get(row, "knob")), name) ==
                                0) return kvs_cli_number(row, side);
    fail_msg("no knob %s", name);
    return 0;
}

/* Fractions and levels are chosen anew: those of the prompt as it is were 2.0, 0.5, 2.7 and 3.5 %
 * slower here. */
static void a_knob_turned_is_the_prompt_asked_that_way(void **state)
{
    static const struct {
        const char *prompt, *turned, *name, *side;
    } cases[] = {
        {"-m llama-3-8b -H a100-80g -t remote -b 0.02 -c 39808 -n 228",
         "-m llama-3-8b -H a100-80g -t remote -b 0.02 -c 39808 -n 456", "new tokens",
         "twice_ttft_s"},
        {"-m llama-3-8b -H rtx-4090 -t nvme -b 0.1 -c 2862 -n 241",
         "-m llama-3-8b -H rtx-4090 -t nvme -b 0.1 -c 5724 -n 241", "cached tokens",
         "twice_ttft_s"},
        {"-m llama-3-8b -H rtx-4090 -t nvme -b 0.1 -c 2862 -n 241",
         "-m llama-3-8b -H rtx-4090 -t nvme -b 0.1 -c 2862 -n 241 --bandwidth HALF", "bandwidth",
         "half_ttft_s"},
        {"-m mistral-7b -H rtx-4090 -t nvme -b 0.3 -c 26245 -n 310",
         "-m mistral-7b -H rtx-4090 -t nvme -b 0.3 -c 26245 -n 310 --bandwidth TWICE", "bandwidth",
         "twice_ttft_s"},
    };
    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        char line[300];

        snprintf(line, sizeof line, "plan -p optimal --json %s", cases[n].prompt);
        json_t *here = kvs_cli_json(line);
        snprintf(line, sizeof line, "plan -p optimal --json %s", cases[n].turned);
        double factor = strstr(line, "HALF") ? .5 : 2;
        char *at = strstr(line, "--bandwidth");
        if (at)
            snprintf(at, (size_t)(line + sizeof line - at), "--bandwidth %.0f",
                     factor * kvs_cli_number(here, "bandwidth_bytes_per_s"));
        json_t *there = kvs_cli_json(line);
        double said_s = knob(here, cases[n].name, cases[n].side);

        if (!(fabs(said_s / kvs_cli_ttft_s(there) - 1) <= CLOSE))
            fail_msg("%s: %s said %.9g s, asked that way %.9g s", cases[n].prompt, cases[n].name,
                     said_s, kvs_cli_ttft_s(there));
        json_decref(here);
        json_decref(there);
    }
}

/* The machine with the rate of one of its links changed, as a file. */
static void change(const char *hardware, const char *link, double rate, char path[64])
{
    char from[100];
    json_t *machine, *one;
    size_t i;

    snprintf(from, sizeof from, "configs/hardware/%s.json", hardware);
    machine = json_load_file(from, 0, NULL);
    assert_non_null(machine);
    json_array_foreach(json_object_get(machine, "links"), i, one)
    {
        if (strcmp(json_string_value(json_object_get(one, "name")), link) == 0)
            json_object_set_new(json_object_get(one, "read_bytes_per_s"), "value", json_real(rate));
    }
    snprintf(path, 64, "/tmp/kvsim-link-%ld.json", (long)getpid());
    assert_int_equal(json_dump_file(machine, path, 0), 0);
    json_decref(machine);
}

/* As who buys another drive would see it: load over recompute on the machine with that link. */
static double with_link(const char *hardware, const char *args, const char *link, double rate)
{
    char path[64];

    change(hardware, link, rate, path);
    json_t *there = plan(path, args, NULL);
    double load = kvs_cli_number(kvs_cli_policy(there, "load"), "ttft_s");
    double recompute = kvs_cli_number(kvs_cli_policy(there, "recompute"), "ttft_s");
    unlink(path);
    json_decref(there);
    return load / recompute;
}

static void the_crossing_is_where_a_machine_with_another_link_crosses(void **state)
{
    unsigned n_cross = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++) {
        char args[300];
        const char *hardware, *link;

        draw(seed, &hardware, args, sizeof args);
        json_t *here = plan(hardware, args, NULL);
        const json_t *from =
            json_object_get(json_object_get(here, "bandwidth_crossing_bytes_per_s"), "from");
        link = json_string_value(json_object_get(here, "bandwidth_link"));
        /* a link that is no more the slowest would be another's --bandwidth */
        if (json_is_real(from)) {
            double at = json_real_value(from);

            n_cross++;
            if (!(with_link(hardware, args, link, at * .985) > 1 &&
                  with_link(hardware, args, link, at * 1.015) < 1))
                fail_msg("-H %s %s: no crossing at %.6g B/s of %s", hardware, args, at, link);
        }
        json_decref(here);
    }
    assert_true(n_cross >= N_SEED / 2);
}

/* An 8-GPU H800: a drive twice as fast was slower once, as PCIe's pieces then went at its rate. */
static void other_links_keep_their_rates(void **state)
{
    json_t *here = kvs_cli_json(
               "plan -p optimal --json -m llama-3.1-8b -H h800-8 -t nvme -b 0.085 -c 59795 "
               "-n 39"),
           *same = kvs_cli_json(
               "plan -p optimal --json -m llama-3.1-8b -H h800-8 -t nvme -b 0.085 -c 59795 "
               "-n 39 --bandwidth 22.1GB/s");

    (void)state;
    assert_string_equal(json_string_value(json_object_get(here, "bandwidth_link")), "nvme");
    assert_true(kvs_cli_number(here, "bandwidth_bytes_per_s") == 22.1e9);
    assert_true(fabs(kvs_cli_ttft_s(same) / kvs_cli_ttft_s(here) - 1) < 1e-6);
    json_decref(here);
    json_decref(same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_that_is_said_is_the_one_here_and_twice_it_is_no_slower),
        cmocka_unit_test(the_crossing_is_where_a_machine_with_another_link_crosses),
        cmocka_unit_test(a_knob_turned_is_the_prompt_asked_that_way),
        cmocka_unit_test(other_links_keep_their_rates),
    };
    return cmocka_run_group_tests_name("kvsim plan --bandwidth", tests, NULL, NULL);
}
