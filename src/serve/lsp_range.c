/* See lsp_range.h. */
#include "serve/lsp_range.h"

#include "base/json.h"
#include "base/json_read.h"

bool lsp_range_read_position(const struct json_value *v, struct text_position *out)
{
    struct text_position p;
    if (!json_get_int(json_get(v, "line"), &p.line)) return false;
    if (!json_get_int(json_get(v, "character"), &p.character)) return false;
    *out = p;
    return true;
}

bool lsp_range_read(const struct json_value *v, struct lsp_range *out)
{
    struct lsp_range r;
    if (!lsp_range_read_position(json_get(v, "start"), &r.start)) return false;
    if (!lsp_range_read_position(json_get(v, "end"), &r.end)) return false;
    *out = r;
    return true;
}

static void write_position(struct json *j, const char *key, struct text_position p)
{
    json_begin_object(j, key);
    json_int(j, "line", p.line);
    json_int(j, "character", p.character);
    json_end_object(j);
}

void lsp_range_write(struct json *j, const char *key, const struct lsp_range *range)
{
    json_begin_object(j, key);
    write_position(j, "start", range->start);
    write_position(j, "end", range->end);
    json_end_object(j);
}
