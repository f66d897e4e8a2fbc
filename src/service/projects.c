/* Held folders in one array: an editor has a few. One that cannot be indexed keeps its place, so that holding
 * and dropping stay in balance. */
#include "service/projects.h"

#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "context/project.h"
#include "context/repository.h"

#define PROJECTS_MAX 32 /* more are held without being indexed */

/* Longer than the pause between two keys of somebody who types (5 a second), shorter than one who thinks. */
#define PAUSE_MS 1000

struct entry {
    char *root; /* owned */
    struct repository repository;
    struct project *project;
    uint32_t number;  /* projects_number */
    uint64_t version; /* of the project, when projects_have_changed looked last */
    int32_t n_holds;
};

struct projects {
    const struct secrets *secrets;
    struct entry entries[PROJECTS_MAX];
    int32_t n;
    uint32_t n_numbers; /* given so far */
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
        repository_of(root, &e->repository);
        e->number = ++p->n_numbers;
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

/* The innermost held folder that holds this file; null: none. */
static const struct entry *find_holder(const struct projects *p, const char *path)
{
    const struct entry *best = NULL;
    size_t longest = 0;
    for (int32_t i = 0; i < p->n && path[0] == '/'; i++) {
        const struct entry *e = &p->entries[i];
        size_t len = strlen(e->root);
        if (len < longest || strncmp(path, e->root, len) != 0 || path[len] != '/') continue;
        longest = len;
        best = e;
    }
    return best;
}

struct project *projects_of_file(struct projects *p, const char *path, const char **relative)
{
    const struct entry *e = find_holder(p, path);
    if (!e) return NULL;
    *relative = path + strlen(e->root) + 1;
    return e->project;
}

const struct repository *projects_repository(struct projects *p, const char *root, const char *file)
{
    const struct entry *e = root ? find(p, root) : file ? find_holder(p, file) : NULL;
    return e ? &e->repository : NULL;
}

bool projects_have_changed(struct projects *p)
{
    bool have_changed = false;
    for (int32_t i = 0; i < p->n; i++) {
        struct entry *e = &p->entries[i];
        uint64_t version = e->project ? project_version(e->project) : 0;
        have_changed = have_changed || version != e->version;
        e->version = version;
    }
    return have_changed;
}

uint32_t projects_number(const struct projects *p, const struct project *project)
{
    for (int32_t i = 0; project && i < p->n; i++) {
        if (p->entries[i].project == project) return p->entries[i].number;
    }
    return 0;
}

struct project *projects_numbered(struct projects *p, uint32_t number)
{
    for (int32_t i = 0; i < p->n; i++) {
        if (p->entries[i].number == number) return p->entries[i].project;
    }
    return NULL;
}

void projects_rescan(struct projects *p, const char *root)
{
    struct project *project = projects_find(p, root);
    if (project) project_rescan_unwatched(project);
}

int64_t projects_bytes(const struct projects *p)
{
    size_t n = 0;
    for (int32_t i = 0; i < p->n; i++) {
        struct project_stats stats = {0};
        if (p->entries[i].project) project_stats(p->entries[i].project, &stats);
        n += stats.n_bytes;
    }
    return (int64_t)n;
}

void projects_pause(struct projects *p)
{
    for (int32_t i = 0; i < p->n; i++) {
        if (p->entries[i].project) project_pause(p->entries[i].project, PAUSE_MS);
    }
}
