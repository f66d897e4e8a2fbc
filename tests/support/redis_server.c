/* Starting, killing and asking a server. Debian's redis-tools brings the server's program as redis-check-rdb:
 * what it does depends on the name it is called by. */
#include "support/redis_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#define START_MS 10000

/* The installed program's path; false: there is none. */
static bool find_program(char *out, size_t size)
{
    static const char *const names[] = {"redis-server", "valkey-server", "redis-check-rdb",
                                        "valkey-check-rdb"};
    static const char *const dirs[] = {"/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        for (size_t d = 0; d < sizeof dirs / sizeof *dirs; d++) {
            snprintf(out, size, "%s/%s", dirs[d], names[n]);
            if (access(out, X_OK) == 0) return true;
        }
    }
    return false;
}

/* Nobody has it now; that this may change until the server takes it is why starting is tried again. */
static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static int connect_unix(const struct redis_server *r)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", r->socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static void run(const struct redis_server *r)
{
    char port[8];
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails does not stop it */
#endif
    int nowhere = open("/dev/null", O_RDWR);
    if (nowhere >= 0) dup2(nowhere, 0), dup2(nowhere, 1), dup2(nowhere, 2);
    snprintf(port, sizeof port, "%d", r->port);
    const char *args[] = {r->program_path,
                          "--port",
                          port,
                          "--bind",
                          "127.0.0.1",
                          "--unixsocket",
                          r->socket_path,
                          "--dir",
                          r->dir,
                          "--save",
                          "",
                          "--appendonly",
                          "no",
                          r->password[0] ? "--requirepass" : NULL,
                          r->password,
                          NULL};
    execv(r->program_path, (char *const *)args);
    _exit(127);
}

/* False: it ended, or does not answer. */
static bool launch(struct redis_server *r)
{
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) run(r);
    for (int ms = 0; ms < START_MS; ms += 10) {
        int fd = connect_unix(r);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        if (waitpid(r->pid, NULL, WNOHANG) == r->pid) {
            r->pid = 0;
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    redis_server_kill(r);
    return false;
}

bool redis_server_start(struct redis_server *r, const char *password)
{
    char program[64];
    *r = (struct redis_server){0};
    if (!find_program(program, sizeof program)) return false;
    snprintf(r->password, sizeof r->password, "%s", password);
    snprintf(r->dir, sizeof r->dir, "/tmp/inline-test-redis-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->socket_path, sizeof r->socket_path, "%s/socket", r->dir);
    snprintf(r->program_path, sizeof r->program_path, "%s/%s", r->dir,
             strstr(program, "valkey") ? "valkey-server" : "redis-server");
    assert_int_equal(symlink(program, r->program_path), 0);
    for (int attempt = 0; attempt < 3; attempt++) {
        r->port = free_port();
        if (launch(r)) return true;
    }
    fail_msg("%s does not start", program);
    return false;
}

void redis_server_restart(struct redis_server *r)
{
    unlink(r->socket_path);
    assert_true(launch(r));
}

void redis_server_kill(struct redis_server *r)
{
    if (r->pid == 0) return;
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
}

void redis_server_stop(struct redis_server *r)
{
    redis_server_kill(r);
    unlink(r->socket_path);
    unlink(r->program_path);
    rmdir(r->dir);
}

void redis_server_ask(const struct redis_server *r, const char *command, char *out, size_t size)
{
    char line[256];
    int fd = connect_unix(r);
    assert_true(fd >= 0);
    int n = r->password[0] ? snprintf(line, sizeof line, "AUTH %s\r\n%s\r\n", r->password, command)
                           : snprintf(line, sizeof line, "%s\r\n", command);
    assert_int_equal(write(fd, line, (size_t)n), n);
    size_t len = 0;
    /* With a password, the first line answers AUTH. */
    for (int n_lines = 0; n_lines < (r->password[0] ? 2 : 1);) {
        char c;
        assert_int_equal(read(fd, &c, 1), 1);
        if (c == '\n') {
            n_lines++;
            out[len] = '\0';
            len = 0;
        } else if (c != '\r' && len + 1 < size) {
            out[len++] = c;
        }
    }
    close(fd);
}
