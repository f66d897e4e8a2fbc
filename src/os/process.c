/* posix_spawn, which needs no copy of our memory and no code between fork and exec. See process.h. */
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/clock.h"

#define END_POLL_NS 1000000 /* 1 ms: a child that leaves well takes a few */

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
static int spawn(const char *program, char *const *args, char *const *env, const char *log, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t usual, none;
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
    if (!fault) fault = posix_spawn(pid, program, &files, &attributes, args, env);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return fault;
}

enum err process_start_detached(const char *program, char *const *args, const char *log, struct errmsg *msg)
{
    pid_t pid;
    signal(SIGCHLD, SIG_IGN); /* no zombies */
    int fault = spawn(program, args, environ, log, &pid);
    return fault ? err_set(msg, ERR_IO, "cannot start %s: %s", program, strerror(fault)) : OK;
}

enum err process_start_child(const char *program, char *const *args, char *const *env, const char *log,
                             int *pid, struct errmsg *msg)
{
    pid_t started = 0;
    int fault = spawn(program, args, env, log, &started);
    *pid = fault ? 0 : (int)started;
    return fault ? err_set(msg, ERR_IO, "cannot start %s: %s", program, strerror(fault)) : OK;
}

/* Without taking its status, so that the number stays the child's until process_end_child. */
bool process_is_running(int pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

void process_end_child(int pid, double patience_ms)
{
    const struct timespec pause = {.tv_nsec = END_POLL_NS};
    int64_t start = clock_ns();
    kill(pid, SIGTERM);
    while (process_is_running(pid) && clock_ms_since(start) < patience_ms) nanosleep(&pause, NULL);
    kill(pid, SIGKILL); /* nothing happens to one that has ended */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
}

int64_t process_cpu_ns(int pid)
{
#ifdef __linux__
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &used) == 0)
        return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
#else
    (void)pid;
#endif
    return -1;
}
