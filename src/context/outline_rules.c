/* What counts as a definition, an import or a comment in each grammar's trees (data table).
 *
 * Types of node and names of fields are the grammars' own; each has them in its node-types.json. */
#include "context/outline_rules.h"

#include <stddef.h>

/* clang-format off */
#define LEAD(node) {node, RULE_LEAD, 0, NULL, NULL, 0}
#define ENTER(node) {node, RULE_ENTER, 0, NULL, NULL, 0}
#define WRAP(node) {node, RULE_WRAP, 0, NULL, NULL, 0}
#define SCOPE(node) {node, RULE_SCOPE, 0, NULL, "body", 0}
#define FUNCTION(node) {node, RULE_UNIT, OUTLINE_FUNCTION, "name", "body", 0}
#define FUNCTION_INSIDE(node) {node, RULE_UNIT, OUTLINE_FUNCTION, "name", "body", RULE_INSIDE}
#define TYPE(node) {node, RULE_UNIT, OUTLINE_TYPE, "name", "body", 0}
#define TYPE_INSIDE(node) {node, RULE_UNIT, OUTLINE_TYPE, "name", "body", RULE_INSIDE}
#define VALUE(node, body) {node, RULE_UNIT, OUTLINE_VALUE, "name", body, 0}
#define BLOCK(node, name) {node, RULE_UNIT, OUTLINE_BLOCK, name, "body", RULE_INSIDE}
#define ASSIGN(node, name, body, flags) {node, RULE_ASSIGN, OUTLINE_VALUE, name, body, flags}
#define IMPORT(node, name) {node, RULE_IMPORT, 0, name, NULL, 0}
#define CALL(node, name) {node, RULE_CALL, 0, name, NULL, 0}
#define END {NULL, 0, 0, NULL, NULL, 0}

/* The preprocessor, declarations, and functions of C and C++. */
#define C_RULES \
    LEAD("comment"), \
    IMPORT("preproc_include", "path"), \
    {"preproc_def", RULE_UNIT, OUTLINE_VALUE, "name", "value", RULE_NEEDS_BODY}, \
    {"preproc_function_def", RULE_UNIT, OUTLINE_FUNCTION, "name", "value", 0}, \
    ENTER("preproc_ifdef"), ENTER("preproc_if"), ENTER("preproc_else"), ENTER("preproc_elif"), \
    ENTER("preproc_elifdef"), ENTER("linkage_specification"), ENTER("declaration_list"), \
    {"function_definition", RULE_DECLARE, OUTLINE_FUNCTION, "declarator", "body", 0}, \
    {"declaration", RULE_DECLARE, OUTLINE_VALUE, "declarator", NULL, 0}, \
    {"type_definition", RULE_DECLARE, OUTLINE_TYPE, "declarator", NULL, 0}, \
    {"function_declarator", RULE_DECLARATOR, OUTLINE_FUNCTION, "", NULL, 0}, \
    {"pointer_declarator", RULE_DECLARATOR, OUTLINE_FUNCTION, "", NULL, 0}
#define C_TYPE(node, flags) {node, RULE_UNIT, OUTLINE_TYPE, "name", "body", RULE_NEEDS_BODY | (flags)}

const struct outline_rule outline_rules_c[] = {
    C_RULES,
    C_TYPE("struct_specifier", 0), C_TYPE("union_specifier", 0), C_TYPE("enum_specifier", 0),
    END
};

const struct outline_rule outline_rules_cpp[] = {
    C_RULES,
    C_TYPE("class_specifier", RULE_INSIDE), C_TYPE("struct_specifier", RULE_INSIDE),
    C_TYPE("union_specifier", RULE_INSIDE), C_TYPE("enum_specifier", 0),
    {"field_declaration", RULE_DECLARE, OUTLINE_VALUE, "declarator", NULL, RULE_FUNCTIONS},
    ENTER("field_declaration_list"),
    WRAP("template_declaration"), BLOCK("namespace_definition", "name"),
    TYPE("alias_declaration"), TYPE("concept_definition"),
    END
};

const struct outline_rule outline_rules_python[] = {
    LEAD("comment"),
    IMPORT("import_statement", "name"), IMPORT("import_from_statement", "module_name"),
    WRAP("decorated_definition"),
    {"class_definition", RULE_UNIT, OUTLINE_TYPE, "name", "body", RULE_INSIDE | RULE_DOCSTRING},
    {"function_definition", RULE_UNIT, OUTLINE_FUNCTION, "name", "body", RULE_INSIDE | RULE_DOCSTRING},
    {"type_alias_statement", RULE_UNIT, OUTLINE_TYPE, "left", NULL, 0},
    ENTER("expression_statement"), ASSIGN("assignment", "left", "right", 0),
    ENTER("block"), ENTER("if_statement"), ENTER("elif_clause"), ENTER("else_clause"),
    ENTER("try_statement"), ENTER("except_clause"), ENTER("finally_clause"), ENTER("with_statement"),
    END
};

/* Statements that hold definitions often enough: modules in functions, callbacks, tables of methods. */
#define JAVASCRIPT_RULES \
    LEAD("comment"), LEAD("decorator"), \
    IMPORT("import_statement", "source"), \
    WRAP("export_statement"), \
    FUNCTION_INSIDE("function_declaration"), FUNCTION_INSIDE("generator_function_declaration"), \
    FUNCTION_INSIDE("method_definition"), TYPE_INSIDE("class_declaration"), \
    ENTER("lexical_declaration"), ENTER("variable_declaration"), ENTER("expression_statement"), \
    ASSIGN("variable_declarator", "name", "value", 0), \
    ASSIGN("assignment_expression", "left", "right", RULE_FUNCTIONS), \
    ASSIGN("pair", "key", "value", RULE_FUNCTIONS), \
    ENTER("object"), ENTER("arguments"), CALL("call_expression", "function"), \
    SCOPE("arrow_function"), SCOPE("function_expression"), SCOPE("generator_function"), \
    ENTER("class_body"), ENTER("statement_block"), ENTER("return_statement"), \
    ENTER("parenthesized_expression"), ENTER("unary_expression"), ENTER("if_statement"), \
    ENTER("else_clause"), ENTER("try_statement"), ENTER("catch_clause"), ENTER("finally_clause")

const struct outline_rule outline_rules_javascript[] = {
    JAVASCRIPT_RULES,
    ASSIGN("field_definition", "property", "value", RULE_FUNCTIONS),
    END
};

const struct outline_rule outline_rules_typescript[] = {
    JAVASCRIPT_RULES,
    ASSIGN("public_field_definition", "name", "value", RULE_FUNCTIONS),
    TYPE_INSIDE("abstract_class_declaration"), TYPE_INSIDE("interface_declaration"),
    ENTER("interface_body"), TYPE("type_alias_declaration"), TYPE("enum_declaration"),
    FUNCTION("function_signature"), FUNCTION("method_signature"), FUNCTION("abstract_method_signature"),
    WRAP("ambient_declaration"), BLOCK("internal_module", "name"), BLOCK("module", "name"),
    END
};

const struct outline_rule outline_rules_go[] = {
    LEAD("comment"),
    ENTER("import_declaration"), ENTER("import_spec_list"), IMPORT("import_spec", "path"),
    ENTER("type_declaration"), ENTER("const_declaration"), ENTER("var_declaration"), ENTER("var_spec_list"),
    {"type_spec", RULE_UNIT, OUTLINE_TYPE, "name", "type", RULE_INSIDE | RULE_BRACES},
    {"type_alias", RULE_UNIT, OUTLINE_TYPE, "name", NULL, 0},
    ENTER("interface_type"), {"method_elem", RULE_UNIT, OUTLINE_FUNCTION, "name", NULL, 0},
    VALUE("const_spec", "value"), ASSIGN("var_spec", "name", "value", 0),
    FUNCTION("function_declaration"), FUNCTION("method_declaration"),
    END
};

const struct outline_rule outline_rules_rust[] = {
    LEAD("line_comment"), LEAD("block_comment"), LEAD("attribute_item"),
    IMPORT("use_declaration", "argument"), IMPORT("extern_crate_declaration", "name"),
    {"mod_item", RULE_UNIT, OUTLINE_BLOCK, "name", "body", RULE_INSIDE | RULE_OR_IMPORT},
    BLOCK("impl_item", "type"), TYPE_INSIDE("trait_item"),
    ENTER("declaration_list"), ENTER("foreign_mod_item"),
    TYPE("struct_item"), TYPE("enum_item"), TYPE("union_item"), TYPE("type_item"), TYPE("associated_type"),
    FUNCTION("function_item"), FUNCTION("function_signature_item"), FUNCTION("macro_definition"),
    VALUE("const_item", "value"), VALUE("static_item", "value"),
    END
};

const struct outline_rule outline_rules_java[] = {
    LEAD("line_comment"), LEAD("block_comment"),
    IMPORT("import_declaration", ""),
    TYPE_INSIDE("class_declaration"), TYPE_INSIDE("interface_declaration"), TYPE_INSIDE("enum_declaration"),
    TYPE_INSIDE("record_declaration"), TYPE_INSIDE("annotation_type_declaration"),
    ENTER("class_body"), ENTER("interface_body"), ENTER("enum_body"), ENTER("enum_body_declarations"),
    FUNCTION("method_declaration"), FUNCTION("constructor_declaration"),
    FUNCTION("compact_constructor_declaration"),
    {"field_declaration", RULE_DECLARE, OUTLINE_VALUE, "declarator", NULL, 0},
    {"constant_declaration", RULE_DECLARE, OUTLINE_VALUE, "declarator", NULL, 0},
    END
};

const struct outline_rule outline_rules_lua[] = {
    LEAD("comment"),
    FUNCTION_INSIDE("function_declaration"), ENTER("variable_declaration"),
    ASSIGN("assignment_statement", "", "", 0), CALL("function_call", "name"),
    ENTER("block"), ENTER("do_statement"), ENTER("if_statement"),
    END
};

const struct outline_rule outline_rules_bash[] = {
    LEAD("comment"),
    FUNCTION("function_definition"), ENTER("declaration_command"),
    VALUE("variable_assignment", "value"), CALL("command", "name"),
    ENTER("if_statement"), ENTER("else_clause"), ENTER("elif_clause"), ENTER("list"),
    END
};
/* clang-format on */
