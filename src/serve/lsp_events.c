/* What became of suggestions, told to the service: by the command that each item carries and every client
 * runs after inserting it, and by the notifications that clients of Copilot's language server send. */
#include "serve/lsp_session.h"

#include <string.h>

const char LSP_EVENTS_ACCEPTED[] = "inline.accepted";

/* A count that a client sent; nonsense counts as nothing. */
static int64_t count_of(const struct json_value *v)
{
    int64_t n = 0;
    (void)json_get_int(v, &n);
    return n < 0 ? 0 : n;
}

void lsp_events_command(struct lsp *l, const struct lsp_message *m)
{
    const char *command = json_get_str(json_get(m->params, "command"), NULL);
    if (!command || strcmp(command, LSP_EVENTS_ACCEPTED) != 0) {
        lsp_rpc_error(&l->rpc, m->id, LSP_RPC_INVALID_PARAMS, "the only command is %s", LSP_EVENTS_ACCEPTED);
        return;
    }
    const struct json_value *arguments = json_get(m->params, "arguments");
    service_note(l->o.service, l->client, SERVICE_ACCEPTED, count_of(json_at(arguments, 1)));
    lsp_rpc_null(&l->rpc, m->id);
}

/* The item comes as it was sent, with the number of characters in its command's arguments. */
void lsp_events_shown(struct lsp *l, const struct lsp_message *m)
{
    const struct json_value *command = json_get(json_get(m->params, "item"), "command");
    service_note(l->o.service, l->client, SERVICE_SHOWN,
                 count_of(json_at(json_get(command, "arguments"), 1)));
}

void lsp_events_partly_accepted(struct lsp *l, const struct lsp_message *m)
{
    service_note(l->o.service, l->client, SERVICE_PARTLY_ACCEPTED,
                 count_of(json_get(m->params, "acceptedLength")));
}
