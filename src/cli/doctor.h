/* What `inline doctor` looks at, and how it tells what it found. */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

struct settings;

enum doctor_level {
    DOCTOR_OK,
    DOCTOR_WARNING, /* it works, but not as well as it could */
    DOCTOR_PROBLEM  /* it does not work */
};

struct doctor {
    const struct settings *s;
    struct buf out;
    struct json j;
    bool is_json;
    int32_t n[DOCTOR_PROBLEM + 1]; /* findings, by level */
};

/* One finding. advice: what to do about it; "": nothing. */
void doctor_tell(struct doctor *d, enum doctor_level level, const char *name, const char *advice,
                 const char *fmt, ...) PRINTF_LIKE(5, 6);

/* The checks; each tells at least one finding (doctor_machine.c). */
void doctor_check_gpus(struct doctor *d); /* forks: before there are threads */
void doctor_check_processors(struct doctor *d);
void doctor_check_memory(struct doctor *d);
void doctor_check_power(struct doctor *d);
void doctor_check_disk(struct doctor *d);
/* The same of what is installed (doctor_inline.c). */
void doctor_check_settings(struct doctor *d);
void doctor_check_models(struct doctor *d);
void doctor_check_remotes(struct doctor *d); /* doctor_remote.c; nothing where there are none */
void doctor_check_daemon(struct doctor *d);
void doctor_check_editors(struct doctor *d);

#endif
