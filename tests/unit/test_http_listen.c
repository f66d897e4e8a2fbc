/* The HTTP server from outside: addresses and sockets, who is let in, and how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/http_world.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static struct http_world world;
static struct buf in;
static char dir[] = "/tmp/inline-test-http-XXXXXX";
static char sock_path[64];

static int open_world(void **state)
{
    (void)state;
    strncpy(dir + strlen(dir) - 6, "XXXXXX", 7);
    assert_non_null(mkdtemp(dir));
    snprintf(sock_path, sizeof sock_path, "%s/sub/sock", dir);
    http_world_open(&world, NULL);
    buf_init(&in, (size_t)1 << 20);
    return 0;
}

static int close_world(void **state)
{
    char sub[64];
    (void)state;
    http_world_close(&world);
    buf_clear(&in);
    unlink(sock_path);
    snprintf(sub, sizeof sub, "%s/sub", dir);
    rmdir(sub);
    assert_int_equal(rmdir(dir), 0);
    return 0;
}

static void restart(const struct http_server_options *o)
{
    http_world_close(&world);
    http_world_open(&world, o);
}

/* Ask on a connection of its own. */
static struct http_reply ask(const char *request)
{
    int fd = http_world_connect(&world);
    struct http_reply reply = http_world_ask(&world, fd, &in, request);
    close(fd);
    return reply;
}

static struct http_reply ask_with(const char *method, const char *path, const char *headers)
{
    char request[512];
    snprintf(request, sizeof request, "%s %s HTTP/1.1\r\n%s\r\n", method, path, headers);
    return ask(request);
}

/* --- Addresses ----------------------------------------------------------------------------------------- */

static void test_addresses(void **state)
{
    static const char *const bad[] = {"",
                                      "8012",
                                      ":8012",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "example.com:80",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:1x",
                                      "::1:8012",
                                      "[::1]8012",
                                      "[::1]",
                                      "127.0.0.256:1",
                                      "127.0.0.1:123456",
                                      "[127.0.0.1]:1"};
    static const char *const remote[] = {"0.0.0.0:0", "[::]:0", "192.0.2.1:0"};
    struct errmsg msg;
    int port = -1;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(http_listen_tcp(world.server, bad[i], &port, &msg), ERR_ARG);
        assert_non_null(strstr(msg.text, "not an address"));
    }
    for (size_t i = 0; i < sizeof remote / sizeof *remote; i++) {
        assert_int_equal(http_listen_tcp(world.server, remote[i], &port, &msg), ERR_ARG);
        assert_non_null(strstr(msg.text, "token"));
    }
    assert_int_equal(port, -1);
    assert_int_equal(http_listen_tcp(world.server, "localhost:0", &port, &msg), OK);
    assert_true(port > 0 && port != world.port);

    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%d", port);
    assert_int_equal(http_listen_tcp(world.server, taken, &port, &msg), ERR_IO);
    assert_non_null(strstr(msg.text, "in use"));
}

static void test_ipv6(void **state)
{
    struct errmsg msg;
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int port;
    (void)state;
    if (http_listen_tcp(world.server, "[::1]:0", &port, &msg)) skip(); /* a machine without IPv6 */
    address.sin6_port = htons((uint16_t)port);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    assert_int_equal(http_world_ask(&world, fd, &in, "GET / HTTP/1.1\r\nHost: [::1]:1\r\n\r\n").status, 200);
    close(fd);
}

static void test_sockets_are_not_inherited(void **state)
{
    char path[64];
    (void)state;
    struct stat st;
    int fd = http_world_connect(&world);
    http_world_until_connections(&world, 1);
    for (int i = 3; i < 200; i++) {
        if (fstat(i, &st) || !S_ISSOCK(st.st_mode)) continue;
        snprintf(path, sizeof path, "descriptor %d", i);
        if (!(fcntl(i, F_GETFD) & FD_CLOEXEC)) fail_msg("%s is inherited", path);
    }
    close(fd);
}

/* --- Unix sockets -------------------------------------------------------------------------------------- */

static void test_unix_socket(void **state)
{
    struct errmsg msg;
    struct stat st;
    char sub[64];
    (void)state;
    struct http_server_options o = {.token = "secret"};
    restart(&o);
    umask(0);
    if (http_listen_unix(world.server, sock_path, &msg)) fail_msg("%s", msg.text);
    umask(022);
    snprintf(sub, sizeof sub, "%s/sub", dir);
    assert_int_equal(stat(sub, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(sock_path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);

    int fd = http_world_connect_unix(&world, sock_path); /* neither a token nor a good Host is needed */
    struct http_reply reply = http_world_ask(&world, fd, &in, "GET / HTTP/1.1\r\nHost: inline\r\n\r\n");
    assert_int_equal(reply.status, 200);
    assert_int_equal(http_world_ask(&world, fd, &in,
                                    "GET / HTTP/1.1\r\nHost: inline\r\nOrigin: http://evil.example\r\n\r\n")
                         .status,
                     403);
    close(fd);

    struct http_server *second; /* in use, by whoever it is */
    assert_int_equal(http_server_new(&world.loop, &o, &second, &msg), OK);
    assert_int_equal(http_listen_unix(second, sock_path, &msg), ERR_IO);
    assert_non_null(strstr(msg.text, "in use"));
    http_server_free(&second);
    assert_int_equal(stat(sock_path, &st), 0);
    http_server_drain(world.server);
    assert_int_equal(stat(sock_path, &st), -1);
}

/* What a killed server leaves behind is replaced. */
static void test_stale_socket(void **state)
{
    struct errmsg msg;
    (void)state;
    assert_int_equal(http_listen_unix(world.server, sock_path, &msg), OK);
    http_server_drain(world.server);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, sock_path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    restart(NULL);
    if (http_listen_unix(world.server, sock_path, &msg)) fail_msg("%s", msg.text);
    fd = http_world_connect_unix(&world, sock_path);
    assert_int_equal(http_world_ask(&world, fd, &in, GET("/")).status, 200);
    close(fd);
}

static void test_socket_of_another_is_left(void **state)
{
    struct errmsg msg;
    struct stat st;
    (void)state;
    assert_int_equal(http_listen_unix(world.server, sock_path, &msg), OK);
    unlink(sock_path);
    int fd = open(sock_path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    http_server_drain(world.server);
    assert_int_equal(stat(sock_path, &st), 0);
}

static void test_bad_socket_paths(void **state)
{
    struct errmsg msg;
    char path[300];
    (void)state;
    snprintf(path, sizeof path, "%s/%0200d", dir, 0);
    assert_int_equal(http_listen_unix(world.server, path, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "107 bytes"));
    assert_int_equal(http_listen_unix(world.server, "sock", &msg), ERR_ARG);
    assert_int_equal(http_listen_unix(world.server, "/sock", &msg), ERR_ARG);
    assert_int_equal(http_listen_unix(world.server, "", &msg), ERR_ARG);

    snprintf(path, sizeof path, "%s/file", dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(http_listen_unix(world.server, path, &msg), ERR_IO);
    assert_non_null(strstr(msg.text, "no socket"));
    unlink(path);

    assert_int_equal(chmod(dir, 0777), 0); /* anybody could put a socket there */
    snprintf(path, sizeof path, "%s/sock", dir);
    assert_int_equal(http_listen_unix(world.server, path, &msg), ERR_ARG);
    assert_int_equal(chmod(dir, 0700), 0);
}

/* Of many servers that start at once, one gets the socket and answers on it. */
static void test_simultaneous_start(void **state)
{
    enum { N = 8 };
    int n_won = 0, ready[2], status;
    char byte;
    (void)state;
    assert_int_equal(pipe(ready), 0);
    for (int i = 0; i < N; i++) {
        if (fork()) continue;
        struct errmsg msg;
        enum err err = http_listen_unix(world.server, sock_path, &msg);
        if (!err && write(ready[1], "x", 1) == 1) usleep(500000); /* keep listening while the others try */
        _exit(err ? 1 : 0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    for (int i = 0; i < N; i++) {
        wait(&status);
        n_won += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    close(ready[0]);
    assert_int_equal(n_won, 1);
}

static void test_handed_over_sockets(void **state)
{
    struct errmsg msg;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    char sub[64];
    (void)state;
    snprintf(sub, sizeof sub, "%s/sub", dir);
    mkdir(sub, 0700);
    strncpy(address.sun_path, sock_path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(http_listen_fd(world.server, fd, &msg), ERR_ARG); /* does not listen */
    assert_int_equal(http_listen_fd(world.server, -1, &msg), ERR_ARG);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(http_listen_fd(world.server, fd, &msg), OK);
    int client = http_world_connect_unix(&world, sock_path);
    assert_int_equal(http_world_ask(&world, client, &in, GET("/")).status, 200);
    close(client);
    http_server_drain(world.server);
    assert_int_equal(stat(sock_path, &st), 0); /* the service manager's, not ours */

    struct sockaddr_in any = {.sin_family = AF_INET};
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(http_listen_fd(world.server, fd, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "token"));
    close(fd);
}

/* --- Access -------------------------------------------------------------------------------------------- */

static void test_token(void **state)
{
    struct http_server_options o = {.token = "secret"};
    (void)state;
    restart(&o);
    struct http_reply reply = ask(GET("/"));
    assert_int_equal(reply.status, 401);
    assert_non_null(strstr(reply.head, "\r\nWWW-Authenticate: Bearer\r\n"));
    assert_non_null(strstr(reply.body, "\"type\":\"authentication_error\""));
    assert_int_equal(ask_with("GET", "/", "Host: localhost\r\nAuthorization: Bearer \r\n").status, 401);
    assert_int_equal(ask_with("GET", "/", "Host: localhost\r\nAuthorization: Bearer secrets\r\n").status,
                     401);
    assert_int_equal(ask_with("GET", "/", "Host: localhost\r\nAuthorization: Bearer secret\r\n").status, 200);
    assert_int_equal(ask(GET("/public")).status, 200);
    assert_int_equal(ask_with("POST", "/public", "Host: localhost\r\n").status, 401);
    assert_int_equal(ask_with("POST", "/", /* before the body comes */
                              "Host: localhost\r\nContent-Length: 100\r\nExpect: 100-continue\r\n")
                         .status,
                     401);
    assert_int_equal(world.n_requests, 2);
    restart(NULL); /* without a token, what is sent does not matter */
    assert_int_equal(ask_with("GET", "/", "Host: localhost\r\nAuthorization: Bearer \r\n").status, 200);
}

/* A refused request leaves the connection usable if it was read to its end. */
static void test_refusal_keeps_the_connection(void **state)
{
    struct http_server_options o = {.token = "secret"};
    (void)state;
    restart(&o);
    int fd = http_world_connect(&world);
    assert_int_equal(http_world_ask(&world, fd, &in, GET("/")).status, 401);
    assert_int_equal(http_world_ask(&world, fd, &in, GET("/public")).status, 200);
    close(fd);
}

static void test_hosts(void **state)
{
    static const char *const good[] = {"Host: localhost\r\n", "Host: 127.0.0.1:8012\r\n",
                                       "Host: [::1]:8012\r\n", "Host: 127.9.9.9\r\n"};
    static const char *const bad[] = {"Host: evil.example\r\n", "Host: evil.example:8012\r\n", "Host:\r\n",
                                      "Host: 192.0.2.1\r\n", "Host: localhost.evil.example\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(ask_with("GET", "/", good[i]).status, 200);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ask_with("GET", "/public", bad[i]).status, 403);
    assert_int_equal(ask("GET / HTTP/1.0\r\n\r\n").status, 200);
    assert_int_equal(ask("GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n").status, 403);
}

static void test_origins(void **state)
{
    struct http_server_options o = {.origins = "http://page.example vscode-webview://x", .token = "secret"};
    struct http_reply reply;
    (void)state;
    restart(&o);
    reply = ask_with("GET", "/public", "Host: localhost\r\nOrigin: http://page.example\r\n");
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.head, "\r\nAccess-Control-Allow-Origin: http://page.example\r\n"));
    assert_non_null(strstr(reply.head, "\r\nVary: Origin\r\n"));
    reply = ask_with("GET", "/", "Host: localhost\r\nOrigin: http://page.example\r\n");
    assert_int_equal(reply.status, 401); /* readable for the page */
    assert_non_null(strstr(reply.head, "\r\nAccess-Control-Allow-Origin: http://page.example\r\n"));
    reply = ask_with("GET", "/public", "Host: localhost\r\nOrigin: http://evil.example\r\n");
    assert_int_equal(reply.status, 403);
    assert_null(strstr(reply.head, "Access-Control"));
    assert_int_equal(ask_with("GET", "/public", "Host: localhost\r\nOrigin: null\r\n").status, 403);
    assert_int_equal(ask_with("GET", "/public", "Host: localhost\r\nOrigin: vscode-webview://y\r\n").status,
                     403);
    assert_int_equal(
        ask_with("GET", "/public", "Host: localhost:8012\r\nOrigin: http://localhost:8012\r\n").status, 200);
    assert_int_equal(
        ask_with("GET", "/public", "Host: localhost:8012\r\nOrigin: http://localhost:3000\r\n").status, 403);
    reply = ask_with("GET", "/public", "Host: localhost\r\n");
    assert_null(strstr(reply.head, "Access-Control"));

#define PREFLIGHT                                                                                            \
    "Host: localhost\r\nAccess-Control-Request-Method: POST\r\n"                                             \
    "Access-Control-Request-Headers: authorization,x-stainless-os\r\n"
    int n_before = world.n_requests;
    struct buf long_list;
    buf_init(&long_list, 20000);
    buf_add_str(&long_list, "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://page.example\r\n"
                            "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: ");
    for (int i = 0; i < 9000; i++) buf_add_char(&long_list, 'x');
    buf_add_str(&long_list, "\r\n\r\n");
    reply = ask(buf_str(&long_list));
    assert_int_equal(reply.status, 204);
    assert_null(strstr(reply.head, "xxx")); /* left out whole, not cut */
    buf_clear(&long_list);
    reply = ask_with("OPTIONS", "/v1/completions", PREFLIGHT "Origin: http://page.example\r\n");
    assert_int_equal(reply.status, 204);
    assert_non_null(strstr(reply.head, "\r\nAccess-Control-Allow-Methods: GET, HEAD, POST, OPTIONS\r\n"));
    assert_non_null(strstr(reply.head, "\r\nAccess-Control-Allow-Headers: authorization,x-stainless-os\r\n"));
    reply = ask_with("OPTIONS", "/v1/completions", PREFLIGHT "Origin: http://evil.example\r\n");
    assert_int_equal(reply.status, 403);
    assert_null(strstr(reply.head, "Access-Control"));
    assert_int_equal(world.n_requests, n_before);
}

static void test_changed_access(void **state)
{
    struct errmsg msg;
    int port;
    (void)state;
    assert_int_equal(ask(GET("/")).status, 200);
    assert_int_equal(http_server_set_access(world.server, "new", "http://x", &msg), OK);
    assert_int_equal(ask(GET("/")).status, 401);
    assert_int_equal(
        ask_with("GET", "/", "Host: localhost\r\nAuthorization: Bearer new\r\nOrigin: http://x\r\n").status,
        200);
    assert_int_equal(http_server_set_access(world.server, "a b", "", &msg), ERR_ARG);
    if (http_listen_tcp(world.server, "0.0.0.0:0", &port, &msg)) fail_msg("%s", msg.text);
    assert_int_equal(http_server_set_access(world.server, "", "", &msg), ERR_ARG);
    assert_int_equal(ask(GET("/")).status, 401); /* nothing changed */
    http_server_drain(world.server);
    assert_int_equal(http_server_set_access(world.server, "", "", &msg), OK);
}

/* With a token the server answers to the address that a client reached, and to no other name. */
static void test_host_is_the_address(void **state)
{
    struct http_server_options o = {.token = "t"};
    struct errmsg msg;
    (void)state;
    restart(&o);
    if (http_listen_tcp(world.server, "0.0.0.0:0", &world.port, &msg)) fail_msg("%s", msg.text);
    assert_int_equal(ask_with("GET", "/public", "Host: 127.0.0.1\r\n").status, 200);
    assert_int_equal(ask_with("GET", "/public", "Host: 192.0.2.7\r\n").status, 403);
}

/* --- The end ------------------------------------------------------------------------------------------- */

static void test_drain(void **state)
{
    (void)state;
    int idle = http_world_connect(&world), held = http_world_connect(&world),
        half = http_world_connect(&world);
    http_world_send_str(&world, held, GET("/hold") GET("/never"));
    http_world_send_str(&world, half, "POST /half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{");
    http_world_until(&world, &world.n_requests, 1);
    http_world_until_connections(&world, 3);
    http_server_drain(world.server);
    assert_true(http_world_drain(&world, idle, &in));
    assert_int_equal(in.len, 0);
    http_world_until_connections(&world, 2);
    struct http_reply reply = http_world_ask(&world, half, &in, "}");
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.head, "\r\nConnection: close\r\n"));
    http_answer(world.held, 200, "text/plain", "done", 4);
    world.held = NULL;
    reply = http_world_reply(&world, held, &in, false);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.head, "\r\nConnection: close\r\n"));
    assert_true(http_world_drain(&world, held, &in));
    assert_int_equal(in.len, 0);
    close(idle);
    close(held);
    close(half);
    http_world_until_connections(&world, 0);
    assert_int_equal(world.n_requests, 2);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)world.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), -1);
    close(fd);
}

/* Users hear of the end inside http_server_free, and of nothing later. */
static void test_free_tells(void **state)
{
    (void)state;
    int held = http_world_connect(&world), stream = http_world_connect(&world),
        half = http_world_connect(&world);
    http_world_send_str(&world, held, GET("/hold"));
    http_world_send_str(&world, half, "GET / HT");
    http_world_send_str(
        &world, stream,
        "GET /up HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    http_world_until(&world, &world.n_requests, 2);
    http_world_until_connections(&world, 3);
    http_server_free(&world.server);
    assert_null(world.server);
    assert_int_equal(world.n_aborts, 1);
    assert_int_equal(world.n_closed, 1);
    http_world_turn(&world, 1);
    assert_int_equal(world.n_aborts, 1);
    assert_int_equal(world.n_closed, 1);
    close(held);
    close(stream);
    close(half);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WORLD(test_addresses),
        WITH_WORLD(test_ipv6),
        WITH_WORLD(test_sockets_are_not_inherited),
        WITH_WORLD(test_unix_socket),
        WITH_WORLD(test_stale_socket),
        WITH_WORLD(test_socket_of_another_is_left),
        WITH_WORLD(test_bad_socket_paths),
        WITH_WORLD(test_simultaneous_start),
        WITH_WORLD(test_handed_over_sockets),
        WITH_WORLD(test_token),
        WITH_WORLD(test_refusal_keeps_the_connection),
        WITH_WORLD(test_hosts),
        WITH_WORLD(test_origins),
        WITH_WORLD(test_changed_access),
        WITH_WORLD(test_host_is_the_address),
        WITH_WORLD(test_drain),
        WITH_WORLD(test_free_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
