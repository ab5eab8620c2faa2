#include "signals.h"

#include <signal.h>

/* The one variable of the program that changes: a signal has nothing else to write to. */
static volatile sig_atomic_t came;

static void on_signal(int signal_number)
{
    came = signal_number;
}

void kvs_catch_signals(void)
{
    /* no SA_RESTART: a read that waits for a pipe fails, and that ends the command */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, hup;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
}

bool kvs_interrupted(void)
{
    return came != 0;
}

int kvs_signal(void)
{
    return came;
}
