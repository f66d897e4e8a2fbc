/* Settings: $XDG_CONFIG_HOME/inline/inline.conf (INI sections), then INLINE_* environment, then flags; the
 * last one wins. One table (settings.c) drives parsing, validation, --help and the documentation. A wrong
 * key or value is an error that names where it stands, never ignored. */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SETTINGS_COUNT       54
#define SETTINGS_REMOTES     32 /* sections [model.NAME] at most */
#define SETTINGS_REMOTE_KEYS 9  /* that each may have */

/* A section [model.NAME]: a model on other machines. Strings are owned; "" means not set. */
struct settings_remote {
    char *name;
    char *type;     /* "remote", the only one there is */
    char *api;      /* "openai", "llama" or "ollama" */
    char *urls;     /* base URLs, separated by spaces or commas */
    char *model;    /* its name at the servers */
    char *fim;      /* "auto", "server", "none" or a family (complete/remote_prompt.h) */
    char *key_file; /* its first line is the key; absolute, unless the settings' own path is not */
    char *key_env;  /* or the environment variable that holds it */
    char *ca_file;  /* certificates to trust instead of the system's */
    int32_t n_ctx;  /* context; tokens; 0: what the server says, else 4096 */
    char *origin;   /* "FILE:3": where the section begins */
    char *key_origin[SETTINGS_REMOTE_KEYS]; /* by row of its table: "FILE:5"; null: not given */
};

/* Strings are owned by the settings; "" means not set. */
struct settings {
    char *model;                     /* models.main: name or path */
    char *instant;                   /* models.instant: name or path; "": none */
    char *languages;                 /* models.languages: "LANGUAGE=MODEL ..."; "": none */
    char *models_dir;                /* models.dir: where installed models are; "": the data directory */
    char *hub;                       /* models.hub: base URL that catalogue and hf: downloads come from */
    char *pack;                      /* models.pack: "auto" or "off" */
    int32_t model_idle_s;            /* models.idle_s; 0: never */
    char *lock;                      /* models.lock: "on" or "off" */
    char *precision;                 /* models.precision: "auto", "full", "mixed" or "quantized" */
    char *eight_bit;                 /* models.eight_bit: "q8_0" or "mxfp8" */
    int32_t remote_patience_ms;      /* remote.patience_ms; 0: models.instant answers at once */
    int32_t remote_timeout_ms;       /* remote.timeout_ms */
    int32_t remote_connections;      /* remote.connections; to each server */
    char *isa;                       /* engine.isa */
    int32_t threads;                 /* engine.threads; 0: all */
    int32_t n_ctx;                   /* engine.context; tokens */
    char *kv;                        /* engine.kv: "f16" or "q8_0" */
    char *move;                      /* engine.move: "on" or "off" */
    char *speculation;               /* engine.speculation: "auto" or "off" */
    int32_t sequences;               /* engine.sequences */
    char *cpus;                      /* engine.cpus: list, or "" */
    int32_t max_tokens;              /* complete.max_tokens */
    int32_t confidence;              /* complete.confidence; percent */
    char *builder;                   /* context.builder: "on" or "off" */
    char *project;                   /* context.project: "on" or "off" */
    int32_t prompt_tokens;           /* context.tokens */
    char *secret_files;              /* privacy.files: shell patterns */
    char *secret_contents;           /* privacy.contents: a regular expression */
    int32_t packs_mb;                /* cache.packs_mb */
    int32_t kv_mb;                   /* cache.kv_mb; 0: nothing is saved */
    int32_t memory_mb;               /* cache.memory_mb; 0: off */
    int32_t disk_mb;                 /* cache.disk_mb; 0: off */
    int32_t projects_mb;             /* cache.projects_mb; 0: off */
    char *team;                      /* cache.team: address of a server, may hold a password; "": none */
    char *prefetch;                  /* cache.prefetch: "auto", "on" or "off" */
    char *listen;                    /* serve.listen: "ADDR:PORT"; "": none */
    char *socket;                    /* serve.socket: path; "": the usual one */
    char *token;                     /* serve.token */
    char *origins;                   /* serve.origins */
    int32_t max_connections;         /* serve.max_connections */
    int32_t idle_exit_s;             /* serve.idle_exit_s; 0: never */
    int32_t window_ms;               /* batch.window_ms */
    char *governor;                  /* limits.governor: "on" or "off" */
    int32_t limit_memory_mb;         /* limits.memory_mb; 0: none */
    int32_t limit_cpu_percent;       /* limits.cpu_percent; 100: none */
    int32_t power_percent;           /* limits.power */
    int32_t battery_percent;         /* limits.battery_power */
    int32_t journal_days;            /* journal.days; 0: in memory only */
    char *alert_rules;               /* alerts.rules */
    char *alert_command;             /* alerts.command */
    char *alert_webhook;             /* alerts.webhook: may hold a token */
    char *log_format;                /* log.format: "text" or "json" */
    char *log_level;                 /* log.level */
    char *log_text;                  /* log.text: "on" or "off" */
    char *config;                    /* --config, or null; owned */
    struct settings_remote *remotes; /* owned; in the order of the file */
    int32_t n_remotes;
    char *origin[SETTINGS_COUNT]; /* by row of the table: "default", "FILE:3", "INLINE_ISA", "--isa"; owned */
};

/* Load the file (--config FILE or INLINE_CONFIG instead of the usual one), the environment, and the flags
 * found in argv, which are removed from it. A usual file that does not exist is an empty one. On failure
 * the settings are cleared. */
MUST_CHECK enum err settings_load(int *argc, char **argv, struct settings *out, struct errmsg *msg);
/* The same again, with the flags that `before` was loaded with. */
MUST_CHECK enum err settings_reload(const struct settings *before, struct settings *out, struct errmsg *msg);
void settings_clear(struct settings *s); /* tolerates zeroed settings */

/* Call fn with every flag that was given, so that another Inline can be started with the same. */
void settings_each_flag(const struct settings *s, void (*fn)(void *ctx, const char *flag, const char *value),
                        void *ctx);

/* A setting whose key begins like this was given for this run: by a flag or in the environment. */
bool settings_has_override(const struct settings *s, const char *prefix);

/* The [model.NAME] of this name (in any case), or null. */
const struct settings_remote *settings_remote(const struct settings *s, const char *name);
/* Its key, read from where the section says; *key is "" if that is nowhere, else owned by the caller, who
 * wipes it. ERR_NOT_FOUND, ERR_ARG: the file or variable, with what to do; the key itself is in no message.
 */
MUST_CHECK enum err settings_remote_key(const struct settings_remote *r, char **key, struct errmsg *msg);

/* Nobody has set this key. */
bool settings_is_default(const struct settings *s, const char *key);

/* The table for people: flags as text for --help, or everything as docs/configuration.md. */
struct buf;
void settings_describe_flags(struct buf *out);
void settings_describe_markdown(struct buf *out);

/* Every setting with the value in force and where it came from: a line each, or one JSON object. */
void settings_report(const struct settings *s, struct buf *out);
void settings_report_json(const struct settings *s, struct buf *out);

#endif
