/* Code from templates: "@" is replaced by a name that only this definition has, "#" by its number, "%" by the
 * name of an earlier one. */
#include "cli/bench/code.h"

#include <stdbool.h>
#include <string.h>

static const char head[] = "/* Tables of items, and what is done with them. */\n"
                           "#include <stdbool.h>\n"
                           "#include <stddef.h>\n"
                           "#include <string.h>\n"
                           "\n"
                           "#include \"base/buf.h\"\n"
                           "#include \"table/item.h\"\n"
                           "#include \"table/table.h\"\n"
                           "\n"
                           "#define ITEMS_MAX 4096\n"
                           "\n";

static const char *const definitions[] = {
    "/* What is known about one @: where it is, and how often it was asked for. */\n"
    "struct @ {\n"
    "    char *name; /* owned */\n"
    "    size_t len, cap;\n"
    "    int32_t n_asked;\n"
    "    bool is_#_open;\n"
    "};\n"
    "\n",
    "/* The first @ that the table holds for this key, or null. */\n"
    "static struct item *@_find(const struct table *t, uint32_t key)\n"
    "{\n"
    "    for (int32_t i = 0; i < t->n_items; i++) {\n"
    "        struct item *item = &t->items[i];\n"
    "        if (item->key == key && item->kind == ITEM_KIND_#) return item;\n"
    "    }\n"
    "    return NULL;\n"
    "}\n"
    "\n",
    "static enum err @_add(struct table *t, const char *name, size_t len)\n"
    "{\n"
    "    if (t->n_items == ITEMS_MAX) return ERR_LIMIT;\n"
    "    char *copy = mem_try(len + 1, 1);\n"
    "    if (!copy) return ERR_NOMEM;\n"
    "    memcpy(copy, name, len);\n"
    "    t->items[t->n_items++] = (struct item){.name = copy, .len = len, .kind = ITEM_KIND_#};\n"
    "    return OK;\n"
    "}\n"
    "\n",
    "/* How many of the items belong to this @. Those that were found before do not count twice. */\n"
    "int32_t @_count(const struct table *t, struct buf *out)\n"
    "{\n"
    "    int32_t n = 0;\n"
    "    const struct item *first = %_find(t, #);\n"
    "    while (first && first->next) {\n"
    "        if (!first->is_counted) n++;\n"
    "        first = first->next;\n"
    "    }\n"
    "    buf_printf(out, \"%_found: %d of %d\\n\", n, t->n_items);\n"
    "    return n;\n"
    "}\n"
    "\n",
};

const char bench_code_typed[] =
    "/* Removes what has not been asked for lately. Returns how much that was. */\n"
    "static int32_t table_expire(struct table *t, uint64_t now)\n"
    "{\n"
    "    int32_t n = 0;\n"
    "    for (int32_t i = 0; i < t->n_items; i++) {\n"
    "        struct item *item = &t->items[i];\n"
    "        bool is_old = item->asked + EXPIRE_AFTER < now;\n"
    "        if (!is_old || item->n_users > 0) {\n"
    "            t->items[n++] = *item;\n"
    "            continue;\n"
    "        }\n"
    "        t->n_bytes -= item->len;\n"
    "        mem_free(item->name);\n"
    "    }\n"
    "    int32_t n_removed = t->n_items - n;\n"
    "    t->n_items = n;\n"
    "    return n_removed;\n"
    "}\n"
    "\n";

static void write_name(int64_t number, struct buf *out)
{
    static const char *const first[] = {"page",  "line",  "block", "cache", "token",
                                        "entry", "shape", "queue", "frame", "route"};
    static const char *const second[] = {"index", "owner", "group", "order", "state", "chunk", "slot"};
    const int64_t n_first = sizeof first / sizeof *first, n_second = sizeof second / sizeof *second;
    buf_printf(out, "%s_%s", first[number % n_first], second[number / n_first % n_second]);
    if (number >= n_first * n_second) buf_printf(out, "_%lld", (long long)(number / (n_first * n_second)));
}

void bench_code_write(int64_t n_lines, struct buf *out)
{
    const int64_t n_definitions = sizeof definitions / sizeof *definitions;
    buf_add_str(out, head);
    for (int64_t i = 0, lines = 0; lines < n_lines && !out->err; i++) {
        for (const char *c = definitions[i % n_definitions]; *c; c++) {
            bool is_earlier = c[0] == '%' && c[1] == '_';
            if (*c == '@' || is_earlier)
                write_name(is_earlier && i >= 2 ? i - 2 : i, out);
            else if (*c == '#')
                buf_printf(out, "%lld", (long long)i);
            else
                buf_add_char(out, *c);
            lines += *c == '\n';
        }
    }
}
