/* Sections [model.NAME] of the settings file, each a model on other machines: what settings.c needs to read,
 * check and show them. They stand in the file only: neither variables nor flags set their keys. */
#ifndef CLI_SETTINGS_MODELS_H
#define CLI_SETTINGS_MODELS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "cli/settings.h"

struct buf;
struct json;

/* A section's name, as it stands between brackets, is one of these. */
bool settings_models_own(const char *section);

/* A line of the file; where it begins such a section, one is added to s->remotes. origin: "FILE:3". ERR_ARG:
 * the name; ERR_LIMIT: too many. */
MUST_CHECK enum err settings_models_begin(struct settings *s, const char *line, size_t len,
                                          const char *origin, struct errmsg *msg);
/* A key of the section that was begun last. goes_on: the value continues the one of the line before, which
 * lists may. ERR_ARG: no such key, or its value. */
MUST_CHECK enum err settings_models_set(struct settings *s, const char *key, const char *value, bool goes_on,
                                        const char *origin, struct errmsg *msg);
/* The whole file has been read: is each section complete, and do its keys go together? ERR_ARG. */
MUST_CHECK enum err settings_models_check(const struct settings *s, struct errmsg *msg);
void settings_models_clear(struct settings *s);

/* For people: as the functions of settings.h, for these sections. */
void settings_models_describe_markdown(struct buf *out);
void settings_models_report(const struct settings *s, struct buf *out);
void settings_models_report_json(const struct settings *s, struct json *j);

#endif
