/* Which model answers: the one that the request names, the one for its language, else the main one. While
 * somebody types, the instant model answers first, if there is one: see service_submit. */
#include "service/service_impl.h"

#include <string.h>
#include <strings.h>

static const struct language *language_of(const struct service_request *r)
{
    if (r->doc) return r->doc->language;
    if (r->text && r->path) return language_of_path(r->path, r->text, r->len);
    return NULL;
}

struct service_loaded *service_roles_choose(struct service *s, const struct service_request *r,
                                            struct service_loaded **instant, struct errmsg *why)
{
    struct service_models *models = &s->models;
    const struct language *language = language_of(r);
    struct service_loaded *m = service_registry_find(s, r->model, why);
    *instant = NULL;
    bool is_named = m && r->model && strcasecmp(m->name, r->model) == 0;
    if (!m || is_named) return m;
    for (int32_t i = 0; i < models->n_languages && language; i++) {
        if (models->languages[i].language == language) m = models->languages[i].model;
    }
    bool is_asked = r->priority == SERVICE_ASKED;
    bool is_other = models->instant && strcmp(models->instant->path, m->path) != 0;
    /* Asked for by hand, the better answer is worth waiting for, but not worth waiting for the disk. */
    if (is_other && (!is_asked || m->elsewhere || m->state != SERVICE_READY)) *instant = models->instant;
    return m;
}
