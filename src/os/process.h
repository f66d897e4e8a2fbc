/* Starting another program that lives on without us. */
#ifndef OS_PROCESS_H
#define OS_PROCESS_H

#include "base/err.h"

/* The path of the running program; mem_free. "" if the system does not tell. */
char *process_program(void);

/* Start `program` in a session of its own: no terminal, input and output nowhere, errors appended to the file
 * `log`. args is null-terminated and begins with the program's name. Nobody waits for its end. ERR_IO. */
MUST_CHECK enum err process_start_detached(const char *program, char *const *args, const char *log,
                                           struct errmsg *msg);

#endif
