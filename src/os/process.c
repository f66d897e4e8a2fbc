/* posix_spawn, which needs no copy of our memory and no code between fork and exec. See process.h. */
#include "os/process.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

extern char **environ;

char *process_program(void)
{
    char path[PATH_MAX];
#ifdef __linux__
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
#else
    ssize_t n = -1;
#endif
    path[n > 0 ? n : 0] = '\0';
    return mem_dup_str(path);
}

/* What the child finds: its own session, signals as usual although we ignore some, and these files. */
static int spawn(const char *program, char *const *args, const char *log)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t usual, none;
    pid_t pid;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGCHLD);
    sigaddset(&usual, SIGPIPE);
    int fault = posix_spawn_file_actions_init(&files);
    if (fault) return fault;
    fault = posix_spawnattr_init(&attributes);
    if (fault) {
        posix_spawn_file_actions_destroy(&files);
        return fault;
    }
    posix_spawnattr_setsigdefault(&attributes, &usual);
    posix_spawnattr_setsigmask(&attributes, &none);
    fault = posix_spawnattr_setflags(
        &attributes, (short)(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK));
    if (!fault) fault = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!fault) fault = posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!fault)
        fault =
            posix_spawn_file_actions_addopen(&files, STDERR_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (!fault) fault = posix_spawn(&pid, program, &files, &attributes, args, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return fault;
}

enum err process_start_detached(const char *program, char *const *args, const char *log, struct errmsg *msg)
{
    signal(SIGCHLD, SIG_IGN); /* no zombies */
    int fault = spawn(program, args, log);
    return fault ? err_set(msg, ERR_IO, "cannot start %s: %s", program, strerror(fault)) : OK;
}
