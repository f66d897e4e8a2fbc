/* Ctrl-C during a long command. */
#include "cli/interrupt.h"

#include <stdbool.h>

static atomic_bool interrupted; /* layers: allow interrupted, a signal handler reaches nothing but globals */

static void on_interrupt(int number)
{
    (void)number;
    atomic_store_explicit(&interrupted, true, memory_order_relaxed);
}

const atomic_bool *interrupt_begin(struct sigaction *before)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, before);
    return &interrupted;
}

void interrupt_end(const struct sigaction *before)
{
    sigaction(SIGINT, before, NULL);
}
