/* One element of contentChanges. See lsp_edit.h. */
#include "serve/lsp_edit.h"

#include "base/json_read.h"
#include "serve/lsp_range.h"

const char *lsp_edit_read(const struct json_value *change, const struct text *t, enum text_encoding unit,
                          struct lsp_edit *out)
{
    struct lsp_range range;
    const struct json_value *where = json_get(change, "range");
    *out = (struct lsp_edit){.to = t->len, .is_whole = !where};
    out->text = json_get_str(json_get(change, "text"), &out->len);
    if (!out->text) return "a change without text";
    if (!where) return NULL; /* the whole text */
    if (!lsp_range_read(where, &range)) return "a change with a malformed range";
    out->from = text_offset(t, range.start, unit);
    out->to = text_offset(t, range.end, unit);
    return NULL;
}
