/* The projects whose code is indexed (context/project.h), each once for all who work in it. Thread: loop. */
#ifndef SERVICE_PROJECTS_H
#define SERVICE_PROJECTS_H

#include <stdbool.h>
#include <stdint.h>

struct project;
struct repository;
struct secrets;
struct projects;

/* secrets: borrowed. */
struct projects *projects_new(const struct secrets *secrets);
void projects_free(struct projects **p);

/* Index the folder `root` (absolute) until it was dropped as often as it was held. What cannot be indexed is
 * logged, and held all the same. */
void projects_hold(struct projects *p, const char *root);
void projects_drop(struct projects *p, const char *root);

/* The project of a held folder; null if it has none. */
struct project *projects_find(struct projects *p, const char *root);
/* The project of the innermost held folder that holds this file, and what the file is called in there. Null:
 * none, or the path is not absolute. */
struct project *projects_of_file(struct projects *p, const char *path, const char **relative);

/* Whether anything in an index has changed since this was asked last. */
bool projects_have_changed(struct projects *p);
/* A number that stands for a project for as long as its folder is held, never 0; 0 for null. Back: null:
 * none. */
uint32_t projects_number(const struct projects *p, const struct project *project);
struct project *projects_numbered(struct projects *p, uint32_t number);

/* What a held folder is a checkout of (context/repository.h), as of when it was held; or, if root is null,
 * the innermost held folder that holds this file (absolute, or null). Null: none. Valid until a folder is
 * dropped. */
const struct repository *projects_repository(struct projects *p, const char *root, const char *file);

/* Something in a held folder has changed on disk, as somebody says. Costs nothing where changes are followed.
 */
void projects_rescan(struct projects *p, const char *root);

int64_t projects_bytes(const struct projects *p); /* memory of all indexes */

void projects_pause(struct projects *p); /* somebody types */

#endif
