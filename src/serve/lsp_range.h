/* Positions and ranges in messages. */
#ifndef SERVE_LSP_RANGE_H
#define SERVE_LSP_RANGE_H

#include <stdbool.h>

#include "service/service.h"

struct json;
struct json_value;

struct lsp_range {
    struct text_position start, end;
};

/* False, and *out unchanged, if it is none. */
bool lsp_range_read_position(const struct json_value *v, struct text_position *out);
bool lsp_range_read(const struct json_value *v, struct lsp_range *out);
void lsp_range_write(struct json *j, const char *key, const struct lsp_range *range);

#endif
