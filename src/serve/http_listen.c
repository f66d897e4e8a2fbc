/* Listening sockets: TCP addresses, Unix sockets, and sockets that the service manager opened.
 *
 * A Unix socket is guarded by its file: mode 0600 in a directory that only its owner can write. libuv would
 * remove the file of any pipe it has bound; here the socket is made by hand, so that a file goes only if it
 * is still the one that was made. */
#include "serve/http_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/dirs.h"

/* Connections that the kernel keeps while the loop is busy. */
#define BACKLOG 511

static void on_closed(uv_handle_t *handle)
{
    struct http_listener *l = handle->data;
    struct http_server *s = l->server;
    mem_free(l->unlink_path);
    mem_free(l);
    http_server_let_go(s);
}

void http_listen_close(struct http_listener *l)
{
    struct stat st;
    if (l->unlink_path && lstat(l->unlink_path, &st) == 0 && (uint64_t)st.st_dev == l->dev &&
        (uint64_t)st.st_ino == l->ino)
        unlink(l->unlink_path);
    uv_close(&l->uv.handle, on_closed);
}

static void on_connection(uv_stream_t *stream, int status)
{
    if (status == 0) http_conn_accept(stream->data); /* else the client is gone, or descriptors are out */
}

static struct http_listener *new_listener(struct http_server *s, bool is_local_socket)
{
    struct http_listener *l = MEM_NEW(struct http_listener);
    l->server = s;
    l->is_local_socket = l->is_loopback = is_local_socket;
    if (is_local_socket) {
        uv_pipe_init(s->loop, &l->uv.pipe, 0);
    } else {
        uv_tcp_init(s->loop, &l->uv.tcp);
    }
    l->uv.handle.data = l;
    s->n_handles++;
    return l;
}

/* Begin to accept; on failure the listener is closed. */
static int start(struct http_listener *l)
{
    int fault = uv_listen(&l->uv.stream, BACKLOG, on_connection);
    if (fault) {
        http_listen_close(l);
        return fault;
    }
    l->next = l->server->listeners;
    l->server->listeners = l;
    return 0;
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->ss_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static enum err check_loopback(const struct http_server *s, bool is_loopback_address, const char *address,
                               struct errmsg *msg)
{
    if (is_loopback_address || s->options.token[0]) return OK;
    return err_set(msg, ERR_ARG, "%s can be reached from other machines: set a token, or listen on 127.0.0.1",
                   address);
}

/* "HOST:PORT", where HOST is localhost or a numeric address, IPv6 in brackets. */
static bool parse_address(const char *text, struct sockaddr_storage *out)
{
    char host[INET6_ADDRSTRLEN];
    bool is_ip6 = text[0] == '[';
    const char *begin = text + is_ip6;
    size_t len = strcspn(begin, is_ip6 ? "]" : ":"), n_digits;
    const char *rest = begin + len;
    if (len >= sizeof host || (is_ip6 && *rest++ != ']') || *rest++ != ':') return false;
    n_digits = strspn(rest, "0123456789");
    if (!n_digits || n_digits > 5 || rest[n_digits]) return false;
    int port = 0;
    for (; *rest; rest++) port = port * 10 + (*rest - '0');
    if (port > 65535) return false;
    memcpy(host, begin, len);
    host[len] = '\0';
    if (is_ip6) return uv_ip6_addr(host, port, (struct sockaddr_in6 *)out) == 0;
    return uv_ip4_addr(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port,
                       (struct sockaddr_in *)out) == 0;
}

static int port_of(const struct http_listener *l)
{
    struct sockaddr_storage address;
    int len = sizeof address;
    if (uv_tcp_getsockname(&l->uv.tcp, (struct sockaddr *)&address, &len)) return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

enum err http_listen_tcp(struct http_server *s, const char *address, int *port, struct errmsg *msg)
{
    struct sockaddr_storage parsed;
    if (!parse_address(address, &parsed))
        return err_set(msg, ERR_ARG, "%s: not an address like 127.0.0.1:8012, [::1]:8012 or localhost:8012",
                       address);
    enum err err = check_loopback(s, is_loopback(&parsed), address, msg);
    if (err) return err;
    struct http_listener *l = new_listener(s, false);
    l->is_loopback = is_loopback(&parsed);
    int fault = uv_tcp_bind(&l->uv.tcp, (struct sockaddr *)&parsed, 0);
    if (fault) {
        http_listen_close(l);
    } else {
        fault = start(l);
    }
    if (fault == UV_EADDRINUSE)
        return err_set(msg, ERR_IO, "%s is in use by another server; stop it or listen elsewhere", address);
    if (fault) return err_set(msg, ERR_IO, "%s: %s", address, uv_strerror(fault));
    *port = port_of(l);
    return OK;
}

/* Create the socket's directory; refuse one in which others could put a socket of their own. */
static enum err make_directory(const char *path, struct errmsg *msg)
{
    struct stat st;
    enum err err = dirs_make(path, msg);
    if (err) return err;
    if (stat(path, &st)) return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
        return err_set(msg, ERR_ARG, "%s: the socket's directory must be yours and writable by nobody else",
                       path);
    return OK;
}

static int open_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Make way for a new socket: fails if somebody listens on the old one, or if it is something else. */
static enum err remove_stale(const struct sockaddr_un *address, struct errmsg *msg)
{
    struct stat st;
    const char *path = address->sun_path;
    if (lstat(path, &st)) return errno == ENOENT ? OK : err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode)) return err_set(msg, ERR_IO, "%s exists and is no socket; remove it", path);
    int fd = open_socket();
    if (fd < 0) return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    int fault = connect(fd, (const struct sockaddr *)address, sizeof *address) ? errno : 0;
    close(fd);
    if (fault != ECONNREFUSED) /* a full queue (EAGAIN) is somebody's, too */
        return err_set(msg, ERR_IO, "%s is in use by another server; stop it or choose another path", path);
    if (unlink(path) && errno != ENOENT) return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    return OK;
}

/* A socket bound to the path, which only this user may open at any time: bind obeys the socket's own mode
 * where the system lets it be set before (Linux); elsewhere the directory's mode covers the moment until
 * chmod. */
static enum err bind_socket(const struct sockaddr_un *address, int *out, struct errmsg *msg)
{
    const char *path = address->sun_path;
    int fd = open_socket();
    if (fd < 0) return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    if (fchmod(fd, 0600)) { /* not supported: see above */
    }
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) || chmod(path, 0600)) {
        enum err err = err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
        close(fd);
        return err;
    }
    *out = fd;
    return OK;
}

/* Bind while holding the directory's lock: of two servers that start together, the second must find the
 * first's socket answering, not half made. */
static enum err listen_locked(struct http_server *s, const struct sockaddr_un *address, struct errmsg *msg)
{
    struct stat st;
    int fd = -1;
    enum err err = remove_stale(address, msg);
    if (!err) err = bind_socket(address, &fd, msg);
    if (err) return err;
    struct http_listener *l = new_listener(s, true);
    if (lstat(address->sun_path, &st) == 0) {
        l->unlink_path = mem_dup_str(address->sun_path);
        l->dev = (uint64_t)st.st_dev;
        l->ino = (uint64_t)st.st_ino;
    }
    int fault = uv_pipe_open(&l->uv.pipe, fd);
    if (fault) {
        close(fd);
        http_listen_close(l);
    } else {
        fault = start(l);
    }
    return fault ? err_set(msg, ERR_IO, "%s: %s", address->sun_path, uv_strerror(fault)) : OK;
}

enum err http_listen_unix(struct http_server *s, const char *path, struct errmsg *msg)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) return err_set(msg, ERR_ARG, "%s: not a path inside a directory", path);
    if (len >= sizeof address.sun_path)
        return err_set(msg, ERR_ARG, "%s: a socket's path may have %zu bytes; choose a shorter one", path,
                       sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, len + 1);

    char directory[sizeof address.sun_path];
    memcpy(directory, path, (size_t)(slash - path));
    directory[slash - path] = '\0';
    enum err err = make_directory(directory, msg);
    if (err) return err;
    int lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0 || flock(lock, LOCK_EX)) {
        err = err_set(msg, ERR_IO, "%s: %s", directory, strerror(errno));
    } else {
        err = listen_locked(s, &address, msg);
    }
    if (lock >= 0) close(lock);
    return err;
}

enum err http_listen_fd(struct http_server *s, int fd, struct errmsg *msg)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address, option_len = sizeof(int);
    int type = 0, is_listening = 0;
    if (getsockname(fd, (struct sockaddr *)&address, &len) ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &option_len) ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &option_len))
        return err_set(msg, ERR_ARG, "descriptor %d: %s", fd, strerror(errno));
    bool is_local_socket = address.ss_family == AF_UNIX;
    if (type != SOCK_STREAM || !is_listening ||
        (!is_local_socket && address.ss_family != AF_INET && address.ss_family != AF_INET6))
        return err_set(msg, ERR_ARG, "descriptor %d is not a listening TCP or Unix socket", fd);
    enum err err = check_loopback(s, is_local_socket || is_loopback(&address), "the socket handed over", msg);
    if (err) return err;

    fcntl(fd, F_SETFD, FD_CLOEXEC);
    struct http_listener *l = new_listener(s, is_local_socket);
    l->is_loopback = is_local_socket || is_loopback(&address);
    int fault = is_local_socket ? uv_pipe_open(&l->uv.pipe, fd) : uv_tcp_open(&l->uv.tcp, fd);
    if (fault) {
        http_listen_close(l);
    } else {
        fault = start(l);
    }
    return fault ? err_set(msg, ERR_IO, "descriptor %d: %s", fd, uv_strerror(fault)) : OK;
}
