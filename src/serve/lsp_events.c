/* What became of suggestions, told to the service: by the command that each item carries and every client
 * runs after inserting it, and by the notifications that clients of Copilot's language server send. */
#include "serve/lsp_session.h"

#include <string.h>

#include "os/clock.h"

const char LSP_EVENTS_ACCEPTED[] = "inline.accepted";

/* A count that a client sent; nonsense counts as nothing. */
static int64_t count_of(const struct json_value *v)
{
    int64_t n = 0;
    (void)json_get_int(v, &n);
    return n < 0 ? 0 : n;
}

/* Of the answer that a command's arguments are about; 0 if they do not say. */
static uint64_t id_of(const struct json_value *arguments)
{
    return (uint64_t)count_of(json_at(arguments, 2));
}

static const struct json_value *arguments_of_item(const struct lsp_message *m)
{
    return json_get(json_get(json_get(m->params, "item"), "command"), "arguments");
}

void lsp_events_command(struct lsp *l, const struct lsp_message *m)
{
    const char *command = json_get_str(json_get(m->params, "command"), NULL);
    if (!command || strcmp(command, LSP_EVENTS_ACCEPTED) != 0) {
        lsp_rpc_error(&l->rpc, m->id, LSP_RPC_INVALID_PARAMS, "the only command is %s", LSP_EVENTS_ACCEPTED);
        return;
    }
    const struct json_value *arguments = json_get(m->params, "arguments");
    service_note(l->o.service, id_of(arguments), SERVICE_ACCEPTED, count_of(json_at(arguments, 1)));
    lsp_kept_accept(&l->kept, count_of(json_at(arguments, 0)), l->docs, clock_ns());
    lsp_rpc_null(&l->rpc, m->id);
}

/* The item comes as it was sent, with the number of characters in its command's arguments. */
void lsp_events_shown(struct lsp *l, const struct lsp_message *m)
{
    const struct json_value *arguments = arguments_of_item(m);
    service_note(l->o.service, id_of(arguments), SERVICE_SHOWN, count_of(json_at(arguments, 1)));
}

void lsp_events_partly_accepted(struct lsp *l, const struct lsp_message *m)
{
    service_note(l->o.service, id_of(arguments_of_item(m)), SERVICE_PARTLY_ACCEPTED,
                 count_of(json_get(m->params, "acceptedLength")));
}
