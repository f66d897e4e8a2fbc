/* `inline doctor`: models on other machines: whether their servers answer. What they answer with is
 * `inline model check`'s to find out. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/doctor.h"
#include "cli/model_remote.h"

#define TEXT_LIMIT ((size_t)4096)

static void tell(struct doctor *d, const struct settings_remote *r, const struct model_remote_looks *looks)
{
    struct buf text;
    char advice[128];
    enum doctor_level level = looks->n_up == looks->n ? DOCTOR_OK
                              : looks->n_up > 0       ? DOCTOR_WARNING
                                                      : DOCTOR_PROBLEM;
    snprintf(advice, sizeof advice, "inline model check %s", r->name);
    buf_init(&text, TEXT_LIMIT);
    buf_printf(&text, "%s: %" PRId32 " of %" PRId32 " server%s answer%s", r->name, looks->n_up, looks->n,
               looks->n == 1 ? "" : "s", looks->n_up == 1 ? "s" : "");
    if (looks->first_up && *looks->first_up->traits.model)
        buf_printf(&text, ", with %s", looks->first_up->traits.model);
    for (int32_t i = 0; i < looks->n; i++) {
        if (looks->at[i].err) buf_printf(&text, "; %s", looks->at[i].msg.text);
    }
    doctor_tell(d, level, "servers", level == DOCTOR_OK ? "" : advice, "%s", buf_str(&text));
    buf_clear(&text);
}

void doctor_check_remotes(struct doctor *d)
{
    for (int32_t i = 0; i < d->s->n_remotes; i++) {
        const struct settings_remote *r = &d->s->remotes[i];
        struct errmsg msg = {0};
        struct model_remote_looks looks;
        if (model_remote_look(r, d->s, &looks, &msg))
            doctor_tell(d, DOCTOR_PROBLEM, "servers", "", "%s: %s", r->name, msg.text);
        else
            tell(d, r, &looks);
    }
}
