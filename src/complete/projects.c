/* Held folders in one array: an editor has a few. One that cannot be indexed keeps its place, so that holding
 * and dropping stay in balance. */
#include "complete/projects.h"

#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "context/project.h"

#define PROJECTS_MAX 32 /* more are held without being indexed */

/* Longer than the pause between two keys of somebody who types (5 a second), shorter than one who thinks. */
#define PAUSE_MS 1000

struct entry {
    char *root; /* owned */
    struct project *project;
    int32_t n_holds;
};

struct projects {
    const struct secrets *secrets;
    struct entry entries[PROJECTS_MAX];
    int32_t n;
};

struct projects *projects_new(const struct secrets *secrets)
{
    struct projects *p = MEM_NEW(struct projects);
    p->secrets = secrets;
    return p;
}

static void clear(struct entry *e)
{
    project_close(&e->project);
    mem_free(e->root);
    *e = (struct entry){0};
}

void projects_free(struct projects **p)
{
    if (!*p) return;
    for (int32_t i = 0; i < (*p)->n; i++) clear(&(*p)->entries[i]);
    mem_free(*p);
    *p = NULL;
}

static struct entry *find(struct projects *p, const char *root)
{
    for (int32_t i = 0; i < p->n; i++) {
        if (strcmp(p->entries[i].root, root) == 0) return &p->entries[i];
    }
    return NULL;
}

void projects_hold(struct projects *p, const char *root)
{
    struct entry *e = find(p, root);
    if (!e && p->n < PROJECTS_MAX) {
        struct project_options o = {.root = root, .secrets = p->secrets, .is_watched = true};
        struct errmsg msg;
        e = &p->entries[p->n++];
        e->root = mem_dup_str(root);
        if (project_open(&o, &e->project, &msg)) log_line(LOG_WARN, "no index: %s", msg.text);
    }
    if (e) e->n_holds++;
}

void projects_drop(struct projects *p, const char *root)
{
    struct entry *e = find(p, root);
    if (!e || --e->n_holds > 0) return;
    clear(e);
    *e = p->entries[--p->n];
    p->entries[p->n] = (struct entry){0};
}

struct project *projects_find(struct projects *p, const char *root)
{
    struct entry *e = find(p, root);
    return e ? e->project : NULL;
}

struct project *projects_of_file(struct projects *p, const char *path, const char **relative)
{
    struct project *best = NULL;
    size_t longest = 0;
    for (int32_t i = 0; i < p->n && path[0] == '/'; i++) {
        const struct entry *e = &p->entries[i];
        size_t len = strlen(e->root);
        if (len < longest || strncmp(path, e->root, len) != 0 || path[len] != '/') continue;
        longest = len;
        best = e->project;
        *relative = path + len + 1;
    }
    return best;
}

void projects_pause(struct projects *p)
{
    for (int32_t i = 0; i < p->n; i++) {
        if (p->entries[i].project) project_pause(p->entries[i].project, PAUSE_MS);
    }
}
