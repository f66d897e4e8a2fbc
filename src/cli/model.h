/* `inline model ...`: its subcommands, one function each. argv[0] is the subcommand's name. */
#ifndef CLI_MODEL_H
#define CLI_MODEL_H

#include "cli/cli.h"

struct gguf;
struct model;

int cli_model_list(int argc, char **argv, const struct settings *s);
int cli_model_pull(int argc, char **argv, const struct settings *s);
int cli_model_import(int argc, char **argv, const struct settings *s);
int cli_model_info(int argc, char **argv, const struct settings *s);
int cli_model_check(int argc, char **argv, const struct settings *s);
int cli_model_plan(int argc, char **argv, const struct settings *s);
int cli_model_pack(int argc, char **argv, const struct settings *s);
int cli_model_recommend(int argc, char **argv, const struct settings *s);
int cli_model_load(int argc, char **argv, const struct settings *s);
int cli_model_unload(int argc, char **argv, const struct settings *s);
int cli_model_rm(int argc, char **argv, const struct settings *s);

/* Tensor formats in use, by bytes, largest first. */
struct cli_model_format {
    const char *name; /* "Q4_K" */
    int32_t n_tensors;
    int64_t bytes;
    int64_t n_weights;
};
#define CLI_MODEL_FORMATS_MAX 32
int32_t cli_model_formats(const struct gguf *g, struct cli_model_format out[CLI_MODEL_FORMATS_MAX]);

/* Report an installed file: "installed NAME (531 MB) in PATH", or as JSON. */
int cli_model_report_installed(const char *path, bool is_json);

/* Write the packed weights of a model that was just installed, if the settings say so. The model is usable
 * without them: a failure is told on stderr, no more. */
void cli_model_pack_installed(const char *path, const struct settings *s);

/* Open the model that a command's arguments mean (name may be null). False after printing why not. */
bool cli_model_open(const char *name, const struct settings *s, struct model **m);

#endif
