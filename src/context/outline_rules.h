/* What the outline of a syntax tree looks for: for each grammar, the types of node that matter and what they
 * mean. A node whose type has no rule is passed over with all that it holds; so bodies of functions cost
 * nothing unless a rule says that definitions may be in them. Thread: any; all is constant. */
#ifndef CONTEXT_OUTLINE_RULES_H
#define CONTEXT_OUTLINE_RULES_H

#include "context/outline.h"

enum rule_action {
    RULE_ENTER,   /* definitions may be among its children */
    RULE_WRAP,    /* as ENTER; its start belongs to the definition within: decorators, templates, exports */
    RULE_SCOPE,   /* a function without a name: as ENTER, but variables in it are local */
    RULE_LEAD,    /* a comment or an attribute: belongs to the definition right below */
    RULE_UNIT,    /* a definition, called as the field `name` says */
    RULE_DECLARE, /* as C does: the fields `name` are declarators, which hide the names and tell functions
                     from values; a type may be defined on the way */
    RULE_DECLARATOR, /* one that has lost its declaration to an error in the text */
    RULE_ASSIGN,     /* `name` = `body`: a function if the body is one, an import if it is require(), else a
                        value */
    RULE_IMPORT,     /* of what the fields `name` say */
    RULE_CALL        /* an import if `name` is require or source, else as ENTER */
};

enum rule_flag {
    RULE_NEEDS_BODY = 1, /* without one it defines nothing */
    RULE_INSIDE = 2,     /* there may be definitions in its body */
    RULE_FUNCTIONS = 4,  /* functions only: what else it defines is not worth a unit */
    RULE_BRACES = 8,     /* its body begins at the first '{' in the field */
    RULE_DOCSTRING = 16, /* a string at the start of its body is its comment */
    RULE_OR_IMPORT = 32  /* without a body it imports what it names */
};

/* A field "" of name is the node's first child, of body its last. Null: it has none. */
struct outline_rule {
    const char *node; /* null ends the list */
    enum rule_action action;
    enum outline_kind kind;
    const char *name, *body;
    unsigned flags; /* of enum rule_flag */
};

extern const struct outline_rule outline_rules_c[], outline_rules_cpp[], outline_rules_python[],
    outline_rules_javascript[], outline_rules_typescript[], outline_rules_go[], outline_rules_rust[],
    outline_rules_java[], outline_rules_lua[], outline_rules_bash[];

#endif
