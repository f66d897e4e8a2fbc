/* Starting another program: one that lives on without us, or a child that we wait for. */
#ifndef OS_PROCESS_H
#define OS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* The path of the running program; mem_free. "" if the system does not tell. */
char *process_program(void);

/* Start `program` in a session of its own: no terminal, input and output nowhere, errors appended to the file
 * `log`. args is null-terminated and begins with the program's name. Nobody waits for its end. ERR_IO. */
MUST_CHECK enum err process_start_detached(const char *program, char *const *args, const char *log,
                                           struct errmsg *msg);

/* The same as our child, with this environment (null-terminated; "NAME=VALUE"). A process that has called
 * process_start_detached has no children. ERR_IO. */
MUST_CHECK enum err process_start_child(const char *program, char *const *args, char *const *env,
                                        const char *log, int *pid, struct errmsg *msg);
/* False once the child has ended. */
bool process_is_running(int pid);
/* Ask the child to end (SIGTERM), and if it has not after so long, end it; then it is gone. */
void process_end_child(int pid, double patience_ms);
/* Processor time of all threads of a process so far; -1: the system does not tell. */
int64_t process_cpu_ns(int pid);

#endif
