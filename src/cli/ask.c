/* A question to the daemon of this user, where one runs. */
#include "base/mem.h"
#include "cli/cli.h"
#include "serve/ask.h"

enum err cli_ask(const struct settings *s, const char *path, const char *body, struct json_value **answer,
                 struct errmsg *msg)
{
    char *socket = NULL;
    *answer = NULL;
    if (cli_socket(s, &socket, msg)) return ERR_NOT_FOUND; /* no place for a socket, no daemon */
    enum err err = ask_json(socket, path, body, answer, msg);
    mem_free(socket);
    return err;
}
