/* Ctrl-C during a long command: a flag that the work looks at, instead of the process's end. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <signal.h>
#include <stdatomic.h>

/* From begin to end, SIGINT only sets the flag. */
const atomic_bool *interrupt_begin(struct sigaction *before);
void interrupt_end(const struct sigaction *before);

#endif
