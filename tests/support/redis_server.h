/* A Redis or Valkey server of a test's own, on loopback and on a Unix socket, that keeps nothing on disk. */
#ifndef SUPPORT_REDIS_SERVER_H
#define SUPPORT_REDIS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct redis_server {
    pid_t pid; /* 0: killed */
    int port;
    char password[32];     /* "": none is needed */
    char dir[64];          /* its own */
    char socket_path[80];  /* in dir */
    char program_path[96]; /* in dir: a link that has the name of a server */
};

/* False: no such server is installed. Failures are cmocka's. */
bool redis_server_start(struct redis_server *r, const char *password);
void redis_server_stop(struct redis_server *r); /* removes all traces */

/* At once, without a word to its clients; the same address answers again after the second. */
void redis_server_kill(struct redis_server *r);
void redis_server_restart(struct redis_server *r);

/* One inline command ("TTL key") over the Unix socket; the reply's first line. */
void redis_server_ask(const struct redis_server *r, const char *command, char *out, size_t size);

#endif
