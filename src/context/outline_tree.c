/* The outline of a syntax tree: one walk over the nodes for which the grammar has rules (outline_rules.h).
 *
 * A walk with a table, instead of tree-sitter's queries: it passes over what has no rule, bodies above all,
 * where a query visits every node; it needs no compilation (milliseconds per grammar) and keeps no state, so
 * that any thread can do it. Nodes of type ERROR are entered like others: what the parser could still tell
 * apart in a broken text stays in the outline. Nesting deeper than DEPTH_MAX is not looked at. */
#include "context/outline_make.h"

#include "context/syntax.h"

#ifdef INLINE_HAVE_GRAMMARS

#include <ctype.h>
#include <string.h>

#include <tree_sitter/api.h>

#include "context/outline_rules.h"

#define DEPTH_MAX       100
#define NAME_STEPS_MAX  16   /* of declarators within declarators */
#define SYMBOLS_MAX     2048 /* the largest grammar, C++, has under 600 */
#define SYMBOL_ERROR    ((TSSymbol)-1)
#define DOCSTRING_MAX   600 /* bytes: a longer one is left out with the body */
#define RULE_UNKNOWN    0xff
#define RULE_NONE       0xfe
#define LINES_APART_MAX 1 /* line breaks between a comment and what it belongs to */

struct walk {
    struct outline_maker *m;
    const struct outline_rule *rules;
    uint8_t rule_of[SYMBOLS_MAX]; /* index of a symbol's rule, found when it is first met */

    /* The comment, attribute or wrapper that waits for its definition: [lead, lead_end). */
    bool has_lead;
    bool is_lead_open; /* lead_end stands inside the line on which the definition begins */
    uint32_t lead, lead_end;
    uint32_t wrap_end; /* the lead belongs to the first definition before this */
};

struct scope {
    int32_t parent; /* the unit that encloses it */
    bool is_local;  /* in a function: its variables are nobody else's business */
    int depth;
};

struct span {
    uint32_t from, to;
};

static void visit(struct walk *w, TSNode node, struct scope s);

/* --- Nodes ------------------------------------------------------------------------------------------- */

static struct span span_of(TSNode node)
{
    return ts_node_is_null(node) ? (struct span){0}
                                 : (struct span){ts_node_start_byte(node), ts_node_end_byte(node)};
}

static bool is_type(TSNode node, const char *type)
{
    return !ts_node_is_null(node) && strcmp(ts_node_type(node), type) == 0;
}

static TSNode field_of(TSNode node, const char *field)
{
    return ts_node_child_by_field_name(node, field, (uint32_t)strlen(field));
}

/* Whether what this is assigned to is a function. */
static bool is_function_value(TSNode node)
{
    static const char *const types[] = {
        "arrow_function", "function_expression", "generator_function", "func_literal",
        "lambda",         "lambda_expression",   "function_definition" /* Lua's */};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (is_type(node, types[i])) return true;
    }
    return false;
}

static const struct outline_rule *rule_of(struct walk *w, TSNode node)
{
    TSSymbol symbol = ts_node_symbol(node);
    if (symbol >= SYMBOLS_MAX) return NULL;
    if (w->rule_of[symbol] == RULE_UNKNOWN) {
        const char *type = ts_node_type(node);
        w->rule_of[symbol] = RULE_NONE;
        for (uint8_t i = 0; w->rules[i].node && ts_node_is_named(node); i++) {
            if (strcmp(w->rules[i].node, type) == 0) w->rule_of[symbol] = i;
        }
    }
    return w->rule_of[symbol] == RULE_NONE ? NULL : &w->rules[w->rule_of[symbol]];
}

static void visit_children(struct walk *w, TSNode node, struct scope s)
{
    if (++s.depth > DEPTH_MAX) return;
    TSTreeCursor cursor = ts_tree_cursor_new(node);
    if (ts_tree_cursor_goto_first_child(&cursor)) {
        do visit(w, ts_tree_cursor_current_node(&cursor), s);
        while (ts_tree_cursor_goto_next_sibling(&cursor));
    }
    ts_tree_cursor_delete(&cursor);
}

/* --- Names ------------------------------------------------------------------------------------------- */

/* One step from a node towards the name in it; null: it is the name itself. */
static TSNode towards_name(TSNode node)
{
    static const char *const fields[] = {"declarator", "name", "field", "method", "property", "type", "left"};
    static const char *const whole[] = {"operator_name",   "operator_cast",
                                        "destructor_name", "nested_namespace_specifier",
                                        "dotted_name",     "string"};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        if (is_type(node, whole[i])) return (TSNode){0};
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        TSNode child = field_of(node, fields[i]);
        if (!ts_node_is_null(child)) return child;
    }
    return ts_node_named_child(node, 0);
}

/* The name that a declarator or qualified name leads to, and whether it declares a function: the part next to
 * the name decides, so that `(*f)(int)` is a pointer and `(*f(void))(int)` a function. */
static struct span name_of(TSNode node, bool *is_function)
{
    *is_function = false;
    for (int i = 0; i < NAME_STEPS_MAX; i++) {
        const char *type = ts_node_type(node);
        if (strcmp(type, "function_declarator") == 0) *is_function = true;
        if (strcmp(type, "pointer_declarator") == 0 || strcmp(type, "array_declarator") == 0)
            *is_function = false;
        TSNode inner = towards_name(node);
        if (ts_node_is_null(inner)) return span_of(node);
        node = inner;
    }
    return (struct span){0};
}

/* Where the parser takes a macro for a type, the keyword after it looks like a name. */
static bool is_keyword(const char *text, struct span name)
{
    static const char *const words[] = {"enum",   "struct", "union",  "class",    "const", "static", "void",
                                        "int",    "char",   "long",   "unsigned", "if",    "else",   "while",
                                        "for",    "switch", "return", "sizeof",   "do",    "extern", "inline",
                                        "double", "float",  "bool",   "typedef",  "case"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i]);
        if (n == name.to - name.from && memcmp(text + name.from, words[i], n) == 0) return true;
    }
    return false;
}

/* --- What stands above a definition ------------------------------------------------------------------ */

static bool begins_line(const char *text, uint32_t at)
{
    while (at > 0 && (text[at - 1] == ' ' || text[at - 1] == '\t')) at--;
    return at == 0 || text[at - 1] == '\n';
}

/* Whether the lead reaches to `at`: nothing but space in between, and no empty line. */
static bool lead_reaches(const struct walk *w, uint32_t at)
{
    if (!w->has_lead || at < w->lead_end) return at < w->wrap_end && w->has_lead && at >= w->lead;
    if (at < w->wrap_end) return true;
    int n_breaks = 0;
    for (uint32_t i = w->lead_end; i < at; i++) {
        char c = w->m->text[i];
        if (c == '\n' && (w->is_lead_open || ++n_breaks > LINES_APART_MAX)) return false;
        if (!w->is_lead_open && !isspace((unsigned char)c)) return false;
    }
    return true;
}

static void take_comment(struct walk *w, TSNode node)
{
    struct span s = span_of(node);
    const char *text = w->m->text;
    while (s.to > s.from && isspace((unsigned char)text[s.to - 1])) s.to--; /* some grammars' end in \n */
    if (!begins_line(text, s.from)) return;
    if (!lead_reaches(w, s.from)) w->lead = s.from;
    w->has_lead = true;
    w->is_lead_open = false;
    w->lead_end = s.to;
}

/* Goes into a node with the lead that reaches to it, or with none. */
static void enter(struct walk *w, TSNode node, struct scope s)
{
    uint32_t at = ts_node_start_byte(node);
    if (lead_reaches(w, at)) {
        if (at > w->lead_end) w->lead_end = at;
        w->is_lead_open = true;
    } else {
        w->has_lead = false;
    }
    visit_children(w, node, s);
}

static void enter_wrapper(struct walk *w, TSNode node, struct scope s)
{
    struct span span = span_of(node);
    if (!lead_reaches(w, span.from)) w->lead = span.from;
    w->has_lead = true;
    w->is_lead_open = false;
    w->lead_end = span.from;
    w->wrap_end = span.to;
    visit_children(w, node, s);
}

/* --- Units ------------------------------------------------------------------------------------------- */

/* A definition that spans `whole`. The index, or -1. */
static int32_t add_unit(struct walk *w, struct scope s, enum outline_kind kind, struct span whole,
                        struct span name, struct span body)
{
    struct outline_unit u = {.comment = lead_reaches(w, whole.from) ? w->lead : whole.from,
                             .start = whole.from,
                             .end = whole.to,
                             .body = body.from,
                             .body_end = body.to,
                             .name = name.from,
                             .name_len = name.to - name.from,
                             .parent = s.parent,
                             .kind = kind};
    w->wrap_end = 0;
    return outline_add(w->m, u);
}

/* What an elision leaves out of a body: not a string that documents it. */
static struct span body_of(const struct walk *w, const struct outline_rule *r, TSNode body)
{
    struct span span = span_of(body);
    const char *text = w->m->text;
    if (r->flags & RULE_BRACES) {
        const char *brace = memchr(text + span.from, '{', span.to - span.from);
        return brace ? (struct span){(uint32_t)(brace - text), span.to} : (struct span){0};
    }
    if ((r->flags & RULE_DOCSTRING) && !ts_node_is_null(body)) {
        TSNode first = ts_node_named_child(body, 0);
        struct span doc = span_of(first);
        if (is_type(first, "expression_statement") && is_type(ts_node_named_child(first, 0), "string") &&
            doc.to - doc.from <= DOCSTRING_MAX) {
            TSNode second = ts_node_named_child(body, 1);
            span.from = ts_node_is_null(second) ? span.to : ts_node_start_byte(second);
        }
    }
    return span;
}

/* The definitions inside one. */
static void visit_body(struct walk *w, TSNode body, struct scope s, int32_t unit, bool is_function)
{
    if (ts_node_is_null(body)) return;
    s.parent = unit;
    s.is_local = s.is_local || is_function;
    w->has_lead = false;
    w->wrap_end = 0;
    if (++s.depth <= DEPTH_MAX) visit(w, body, s);
    w->has_lead = false;
}

static void visit_unit(struct walk *w, const struct outline_rule *r, TSNode node, struct scope s)
{
    bool is_function;
    TSNode name = field_of(node, r->name), body = r->body ? field_of(node, r->body) : (TSNode){0};
    if (ts_node_is_null(body) && (r->flags & RULE_OR_IMPORT) && !ts_node_is_null(name)) {
        struct span whole = span_of(node), target = span_of(name);
        outline_add_import(w->m, whole.from, whole.to, target.from, target.to);
        return;
    }
    if (ts_node_is_null(body) && (r->flags & RULE_NEEDS_BODY)) return;
    if (r->kind == OUTLINE_VALUE && s.is_local) return;
    int32_t unit =
        add_unit(w, s, r->kind, span_of(node),
                 ts_node_is_null(name) ? (struct span){0} : name_of(name, &is_function), body_of(w, r, body));
    if (r->flags & RULE_INSIDE) visit_body(w, body, s, unit, r->kind == OUTLINE_FUNCTION);
}

/* A type with a body that is defined where it is used: struct a {...} b; But a typedef of the same name says
 * it already. */
static void visit_inner_type(struct walk *w, TSNode type, struct scope s, struct span whole,
                             TSNode declarator)
{
    const struct outline_rule *r = ts_node_is_null(type) ? NULL : rule_of(w, type);
    if (!r || r->action != RULE_UNIT || r->kind != OUTLINE_TYPE) return;
    TSNode name = field_of(type, "name"), body = field_of(type, "body");
    if (ts_node_is_null(name) || ts_node_is_null(body)) return;
    bool is_function;
    struct span tag = name_of(name, &is_function);
    struct span own = ts_node_is_null(declarator) ? (struct span){0} : name_of(declarator, &is_function);
    if (tag.to - tag.from == own.to - own.from &&
        memcmp(w->m->text + tag.from, w->m->text + own.from, tag.to - tag.from) == 0)
        return;
    int32_t unit = add_unit(w, s, OUTLINE_TYPE, whole, tag, span_of(body));
    if (r->flags & RULE_INSIDE) visit_body(w, body, s, unit, false);
}

static void visit_declarator(struct walk *w, const struct outline_rule *r, TSNode node, TSNode declarator,
                             TSNode body, struct scope s)
{
    bool is_function;
    struct span name = name_of(declarator, &is_function), body_span = span_of(body);
    enum outline_kind kind = r->kind;
    if (name.to == name.from || is_keyword(w->m->text, name)) return;
    if (kind == OUTLINE_VALUE && is_function) kind = OUTLINE_FUNCTION;
    /* `class EXPORT name {`, read as a function that returns `class EXPORT`. */
    if (kind == OUTLINE_FUNCTION && !is_function) kind = OUTLINE_TYPE;
    if (kind == OUTLINE_VALUE && ((r->flags & RULE_FUNCTIONS) || s.is_local)) return;
    if (is_type(declarator, "init_declarator")) body_span = span_of(field_of(declarator, "value"));
    add_unit(w, s, kind, span_of(node), name, body_span);
}

static void visit_declaration(struct walk *w, const struct outline_rule *r, TSNode node, struct scope s)
{
    TSNode body = r->body ? field_of(node, r->body) : (TSNode){0};
    TSTreeCursor cursor = ts_tree_cursor_new(node);
    bool has_child = ts_tree_cursor_goto_first_child(&cursor);
    for (; has_child; has_child = ts_tree_cursor_goto_next_sibling(&cursor)) {
        const char *field = ts_tree_cursor_current_field_name(&cursor);
        if (field && strcmp(field, r->name) == 0)
            visit_declarator(w, r, node, ts_tree_cursor_current_node(&cursor), body, s);
    }
    ts_tree_cursor_delete(&cursor);
    /* Last, because what is in the type begins after the declaration, and units are in order. */
    visit_inner_type(w, field_of(node, "type"), s, span_of(node),
                     r->kind == OUTLINE_TYPE ? field_of(node, r->name) : (TSNode){0});
}

/* --- Imports and assignments ------------------------------------------------------------------------- */

/* What the node names, without the parts that are chosen from it or called otherwise. */
static TSNode import_target(TSNode node)
{
    static const char *const parts[][2] = {
        {"scoped_use_list", "path"}, {"use_as_clause", "path"}, {"aliased_import", "name"}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        TSNode part = is_type(node, parts[i][0]) ? field_of(node, parts[i][1]) : (TSNode){0};
        if (!ts_node_is_null(part)) return part;
    }
    return is_type(node, "use_wildcard") ? ts_node_named_child(node, 0) : node;
}

static void add_import(struct walk *w, TSNode node, TSNode target)
{
    if (ts_node_is_null(target)) return;
    struct span whole = span_of(node), t = span_of(import_target(target));
    outline_add_import(w->m, whole.from, whole.to, t.from, t.to);
}

static void visit_import(struct walk *w, const struct outline_rule *r, TSNode node)
{
    if (!*r->name) {
        add_import(w, node, ts_node_named_child(node, 0));
        return;
    }
    TSTreeCursor cursor = ts_tree_cursor_new(node);
    bool has_child = ts_tree_cursor_goto_first_child(&cursor);
    for (; has_child; has_child = ts_tree_cursor_goto_next_sibling(&cursor)) {
        const char *field = ts_tree_cursor_current_field_name(&cursor);
        if (field && strcmp(field, r->name) == 0) add_import(w, node, ts_tree_cursor_current_node(&cursor));
    }
    ts_tree_cursor_delete(&cursor);
}

static bool is_text(const struct walk *w, TSNode node, const char *word)
{
    struct span s = span_of(node);
    size_t n = strlen(word);
    return s.to - s.from == n && memcmp(w->m->text + s.from, word, n) == 0;
}

/* What a call of require("a"), source a or . a imports; null: it is another call. */
static TSNode called_import(const struct walk *w, TSNode call)
{
    TSNode function = field_of(call, "function"), arguments = field_of(call, "arguments");
    if (ts_node_is_null(function)) function = field_of(call, "name");
    if (ts_node_is_null(function)) return (TSNode){0};
    if (is_type(call, "command")) {
        if (!is_text(w, function, "source") && !is_text(w, function, ".")) return (TSNode){0};
        return field_of(call, "argument");
    }
    if (!is_text(w, function, "require") && !is_text(w, function, "import")) return (TSNode){0};
    TSNode target = ts_node_is_null(arguments) ? arguments : ts_node_named_child(arguments, 0);
    return is_type(target, "string") || is_type(target, "template_string") ? target : (TSNode){0};
}

static void visit_call(struct walk *w, TSNode node, struct scope s)
{
    TSNode target = called_import(w, node);
    if (!ts_node_is_null(target))
        add_import(w, node, target);
    else
        enter(w, node, s);
}

/* The value itself, in a list of one, and where a call is made of a part of what it returns, the call. */
static TSNode assigned_value(TSNode value)
{
    if (is_type(value, "expression_list")) value = ts_node_named_child(value, 0);
    for (int i = 0; i < NAME_STEPS_MAX && is_type(value, "member_expression"); i++) {
        value = field_of(value, "object");
    }
    return value;
}

static TSNode part_of(TSNode node, const char *field, bool is_last)
{
    if (*field) return field_of(node, field);
    uint32_t n = ts_node_named_child_count(node);
    return n > 0 ? ts_node_named_child(node, is_last ? n - 1 : 0) : (TSNode){0};
}

static void visit_assignment(struct walk *w, const struct outline_rule *r, TSNode node, struct scope s)
{
    TSNode left = part_of(node, r->name, false), right = part_of(node, r->body, true);
    if (ts_node_is_null(left)) return;
    TSNode value = ts_node_is_null(right) ? right : assigned_value(right);
    bool is_function;
    struct span whole = span_of(node), name = name_of(left, &is_function);
    if (is_function_value(value)) {
        TSNode body = field_of(value, "body");
        int32_t unit = add_unit(w, s, OUTLINE_FUNCTION, whole, name, span_of(body));
        visit_body(w, body, s, unit, true);
        return;
    }
    if (is_type(value, "class")) {
        TSNode body = field_of(value, "body");
        visit_body(w, body, s, add_unit(w, s, OUTLINE_TYPE, whole, name, span_of(body)), false);
        return;
    }
    TSNode target = ts_node_is_null(value) ? value : called_import(w, value);
    if (!ts_node_is_null(target)) {
        add_import(w, node, target);
        return;
    }
    int32_t unit = s.parent;
    /* Of what is assigned to parts of other things, and taken apart, nothing is defined here. */
    bool is_name = !*r->name || is_type(left, "identifier");
    if (is_name && !(r->flags & RULE_FUNCTIONS) && !s.is_local)
        unit = add_unit(w, s, OUTLINE_VALUE, whole, name, span_of(right));
    if (!ts_node_is_null(value) && rule_of(w, value)) visit_body(w, value, s, unit, false);
}

/* --- The walk ---------------------------------------------------------------------------------------- */

/* A declarator in an error: its line, as far as can be told. */
static void visit_lost_declarator(struct walk *w, const struct outline_rule *r, TSNode node, struct scope s)
{
    bool is_function;
    struct span name = name_of(node, &is_function);
    if (is_function && !is_keyword(w->m->text, name))
        add_unit(w, s, r->kind, span_of(node), name, (struct span){0});
}

/* Whether a brace in an error opens the body of the function that was found last, right before it. */
static bool opens_lost_body(const struct walk *w, TSNode node)
{
    const struct outline *o = w->m->out;
    if (o->n_units == 0 || !is_type(node, "{")) return false;
    const struct outline_unit *last = &o->units[o->n_units - 1];
    return last->kind == OUTLINE_FUNCTION && last->body == last->body_end &&
           last->end + 1 >= ts_node_start_byte(node);
}

/* Gives a function that nothing closes a body up to `end`. */
static void set_lost_body(struct walk *w, int32_t unit, uint32_t body, uint32_t end)
{
    struct outline_unit *u = &w->m->out->units[unit];
    if (end <= u->start) return;
    u->end = (uint32_t)outline_line_end(w->m->text, w->m->len, end);
    u->body = body < end ? body : u->end;
    u->body_end = body < end ? end : u->end;
}

/* What is in an error. A function whose body the parser could not close ends where the next one begins. */
static void visit_error(struct walk *w, TSNode node, struct scope s)
{
    const struct outline *o = w->m->out;
    int32_t lost = -1; /* the function whose body we are in */
    if (++s.depth > DEPTH_MAX) return;
    TSTreeCursor cursor = ts_tree_cursor_new(node);
    bool has_child = ts_tree_cursor_goto_first_child(&cursor);
    for (; has_child; has_child = ts_tree_cursor_goto_next_sibling(&cursor)) {
        TSNode child = ts_tree_cursor_current_node(&cursor);
        const struct outline_rule *r = rule_of(w, child);
        int32_t n = o->n_units;
        if (r && r->action == RULE_DECLARATOR)
            visit_lost_declarator(w, r, child, s);
        else
            visit(w, child, (struct scope){s.parent, s.is_local || lost >= 0, s.depth});
        if (lost >= 0 && n < o->n_units && o->units[n].kind == OUTLINE_FUNCTION) {
            set_lost_body(w, lost, o->units[lost].body, o->units[n].comment);
            lost = -1;
        } else if (lost < 0 && opens_lost_body(w, child)) {
            lost = o->n_units - 1;
            set_lost_body(w, lost, ts_node_start_byte(child), ts_node_end_byte(node));
        }
    }
    ts_tree_cursor_delete(&cursor);
}

static void visit(struct walk *w, TSNode node, struct scope s)
{
    if (w->m->err) return;
    if (ts_node_symbol(node) == SYMBOL_ERROR) {
        visit_error(w, node, s);
        return;
    }
    const struct outline_rule *r = rule_of(w, node);
    if (!r) return;
    switch (r->action) {
    case RULE_ENTER:
        enter(w, node, s);
        break;
    case RULE_WRAP:
        add_import(w, node, field_of(node, "source")); /* export ... from "a" */
        enter_wrapper(w, node, s);
        break;
    case RULE_SCOPE:
        visit_body(w, field_of(node, r->body), s, s.parent, true);
        break;
    case RULE_LEAD:
        take_comment(w, node);
        break;
    case RULE_UNIT:
        visit_unit(w, r, node, s);
        break;
    case RULE_DECLARE:
        visit_declaration(w, r, node, s);
        break;
    case RULE_DECLARATOR:
        break;
    case RULE_ASSIGN:
        visit_assignment(w, r, node, s);
        break;
    case RULE_IMPORT:
        visit_import(w, r, node);
        break;
    case RULE_CALL:
        visit_call(w, node, s);
        break;
    }
}

bool outline_by_tree(struct outline_maker *m, const struct language *l, const struct syntax *s)
{
    struct walk w = {.m = m, .rules = l->rules};
    memset(w.rule_of, RULE_UNKNOWN, sizeof w.rule_of);
    TSNode root = ts_tree_root_node(syntax_tree(s));
    struct scope top = {.parent = -1};
    if (ts_node_symbol(root) == SYMBOL_ERROR)
        visit_error(&w, root, top);
    else
        visit_children(&w, root, top);
    return true;
}

#else

bool outline_by_tree(struct outline_maker *m, const struct language *l, const struct syntax *s)
{
    (void)m, (void)l, (void)s;
    return false;
}

#endif
