/* Languages by path, by identifier and by first line.
 *
 * The table is data: a row per language, those with a grammar first. Where an ending belongs to several
 * languages ("pl", "m", "v"), it stands with the most common one; the order decides. */
#include "context/language.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "context/language_grammars.h"
#include "context/outline_rules.h"

/* clang-format off */
static const struct language languages[] = {
    {.name = "c", .extensions = "c h",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'",
     .grammar = tree_sitter_c, .rules = outline_rules_c},
    {.name = "cpp", .extensions = "cc cpp cxx c++ hh hpp hxx h++ ipp inl tpp cu cuh ino",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'",
     .grammar = tree_sitter_cpp, .rules = outline_rules_cpp},
    {.name = "python", .extensions = "py pyi pyw pyx SConstruct SConscript wscript",
     .line_comment = "#", .quotes = "\"'", .is_indented = true,
     .grammar = tree_sitter_python, .rules = outline_rules_python},
    {.name = "javascript", .extensions = "js mjs cjs",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'`", .has_templates = true,
     .grammar = tree_sitter_javascript, .rules = outline_rules_javascript},
    {.name = "javascriptreact", .extensions = "jsx",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'`", .has_templates = true,
     .grammar = tree_sitter_javascript, .rules = outline_rules_javascript},
    {.name = "typescript", .extensions = "ts mts cts",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'`", .has_templates = true,
     .grammar = tree_sitter_typescript, .rules = outline_rules_typescript},
    {.name = "typescriptreact", .extensions = "tsx",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'`", .has_templates = true,
     .grammar = tree_sitter_tsx, .rules = outline_rules_typescript},
    {.name = "go", .extensions = "go",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'`",
     .grammar = tree_sitter_go, .rules = outline_rules_go},
    {.name = "rust", .extensions = "rs",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"",
     .grammar = tree_sitter_rust, .is_parsed_whole = true, .rules = outline_rules_rust},
    {.name = "java", .extensions = "java",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'",
     .grammar = tree_sitter_java, .rules = outline_rules_java},
    {.name = "lua", .extensions = "lua rockspec",
     .line_comment = "--", .block_comment = {"--[[", "]]"}, .quotes = "\"'",
     .grammar = tree_sitter_lua, .is_parsed_whole = true, .rules = outline_rules_lua},
    {.name = "shellscript", .extensions = "sh bash bashrc bash_profile profile zsh zshrc ksh PKGBUILD ebuild",
     .line_comment = "#", .quotes = "\"'",
     .grammar = tree_sitter_bash, .rules = outline_rules_bash},
    {.name = "json", .extensions = "json webmanifest geojson ipynb",
     .quotes = "\"",
     .grammar = tree_sitter_json},
    {.name = "jsonc", .extensions = "jsonc json5 code-workspace",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"",
     .grammar = tree_sitter_json},
    {.name = "csharp", .extensions = "cs csx",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "ruby", .extensions = "rb rake gemspec ru Rakefile Gemfile Vagrantfile Podfile",
     .line_comment = "#", .quotes = "\"'"},
    {.name = "php", .extensions = "php phtml",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "kotlin", .extensions = "kt kts",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "swift", .extensions = "swift",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\""},
    {.name = "scala", .extensions = "scala sc sbt",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "groovy", .extensions = "groovy gradle Jenkinsfile",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "dart", .extensions = "dart",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "objective-c", .extensions = "m mm",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "zig", .extensions = "zig zon",
     .line_comment = "//", .quotes = "\"'"},
    {.name = "d", .extensions = "d di",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'`"},
    {.name = "v", .extensions = "v vsh",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'`"},
    {.name = "nim", .extensions = "nim nims nimble",
     .line_comment = "#", .block_comment = {"#[", "]#"}, .quotes = "\"'", .is_indented = true},
    {.name = "gdscript", .extensions = "gd",
     .line_comment = "#", .quotes = "\"'", .is_indented = true},
    {.name = "haskell", .extensions = "hs lhs",
     .line_comment = "--", .block_comment = {"{-", "-}"}, .quotes = "\"", .is_indented = true},
    {.name = "elm", .extensions = "elm",
     .line_comment = "--", .block_comment = {"{-", "-}"}, .quotes = "\"", .is_indented = true},
    {.name = "ocaml", .extensions = "ml mli",
     .block_comment = {"(*", "*)"}, .quotes = "\""},
    {.name = "fsharp", .extensions = "fs fsi fsx",
     .line_comment = "//", .block_comment = {"(*", "*)"}, .quotes = "\"", .is_indented = true},
    {.name = "elixir", .extensions = "ex exs",
     .line_comment = "#", .quotes = "\"'"},
    {.name = "erlang", .extensions = "erl hrl",
     .line_comment = "%", .quotes = "\"'"},
    {.name = "clojure", .extensions = "clj cljs cljc edn",
     .line_comment = ";", .quotes = "\""},
    {.name = "lisp", .extensions = "lisp lsp el scm ss rkt",
     .line_comment = ";", .block_comment = {"#|", "|#"}, .quotes = "\""},
    {.name = "julia", .extensions = "jl",
     .line_comment = "#", .block_comment = {"#=", "=#"}, .quotes = "\""},
    {.name = "perl", .extensions = "pl pm t",
     .line_comment = "#", .quotes = "\"'"},
    {.name = "r", .extensions = "r Rprofile",
     .line_comment = "#", .quotes = "\"'"},
    {.name = "powershell", .extensions = "ps1 psm1 psd1",
     .line_comment = "#", .block_comment = {"<#", "#>"}, .quotes = "\"'"},
    {.name = "tcl", .extensions = "tcl tk",
     .line_comment = "#", .quotes = "\""},
    {.name = "awk", .extensions = "awk",
     .line_comment = "#", .quotes = "\""},
    {.name = "pascal", .extensions = "pas pp dpr lpr",
     .line_comment = "//", .block_comment = {"{", "}"}, .quotes = "'"},
    {.name = "ada", .extensions = "adb ads",
     .line_comment = "--", .quotes = "\""},
    {.name = "fortran", .extensions = "f f90 f95 f03 f08",
     .line_comment = "!", .quotes = "\"'"},
    {.name = "asm", .extensions = "s asm nasm",
     .line_comment = ";", .quotes = "\"'"},
    {.name = "verilog", .extensions = "sv svh vh",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\""},
    {.name = "vhdl", .extensions = "vhd vhdl",
     .line_comment = "--", .quotes = "\""},
    {.name = "glsl", .extensions = "glsl vert frag comp geom hlsl wgsl metal",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\""},
    {.name = "solidity", .extensions = "sol",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "proto3", .extensions = "proto",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "graphql", .extensions = "graphql gql",
     .line_comment = "#", .quotes = "\""},
    {.name = "terraform", .extensions = "tf tfvars hcl",
     .line_comment = "#", .block_comment = {"/*", "*/"}, .quotes = "\""},
    {.name = "nix", .extensions = "nix",
     .line_comment = "#", .block_comment = {"/*", "*/"}, .quotes = "\""},
    {.name = "starlark", .extensions = "bzl bazel BUILD WORKSPACE star Tiltfile",
     .line_comment = "#", .quotes = "\"'", .is_indented = true},
    {.name = "sql", .extensions = "sql ddl psql",
     .line_comment = "--", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "html", .extensions = "html htm xhtml",
     .block_comment = {"<!--", "-->"}, .quotes = "\"'"},
    {.name = "xml", .extensions = "xml xsd xsl xslt svg plist csproj",
     .block_comment = {"<!--", "-->"}, .quotes = "\"'"},
    {.name = "vue", .extensions = "vue",
     .line_comment = "//", .block_comment = {"<!--", "-->"}, .quotes = "\"'`", .has_templates = true},
    {.name = "svelte", .extensions = "svelte",
     .line_comment = "//", .block_comment = {"<!--", "-->"}, .quotes = "\"'`", .has_templates = true},
    {.name = "css", .extensions = "css",
     .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "scss", .extensions = "scss",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "less", .extensions = "less",
     .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"},
    {.name = "sass", .extensions = "sass",
     .line_comment = "//", .quotes = "\"'", .is_indented = true},
    {.name = "yaml", .extensions = "yaml yml clang-format clang-tidy",
     .line_comment = "#", .quotes = "\"'", .is_indented = true},
    {.name = "toml", .extensions = "toml Cargo.lock",
     .line_comment = "#", .quotes = "\"'"},
    {.name = "ini", .extensions = "ini cfg conf properties editorconfig gitconfig service socket timer",
     .line_comment = "#", .quotes = "\""},
    {.name = "makefile", .extensions = "mk mak Makefile makefile GNUmakefile Makefile.am Makefile.in",
     .line_comment = "#", .quotes = "\"'"},
    {.name = "cmake", .extensions = "cmake CMakeLists.txt",
     .line_comment = "#", .quotes = "\""},
    {.name = "meson", .extensions = "meson.build meson_options.txt",
     .line_comment = "#", .quotes = "'"},
    {.name = "dockerfile", .extensions = "dockerfile Dockerfile Containerfile",
     .line_comment = "#", .quotes = "\"'"},
    {.name = "vim", .extensions = "vim vimrc",
     .line_comment = "\"", .quotes = "'"},
    {.name = "diff", .extensions = "diff patch",
     .quotes = ""},
    {.name = "markdown", .extensions = "md markdown mdx",
     .block_comment = {"<!--", "-->"}, .quotes = "", .is_prose = true},
    {.name = "restructuredtext", .extensions = "rst",
     .quotes = "", .is_prose = true},
    {.name = "asciidoc", .extensions = "adoc asciidoc",
     .line_comment = "//", .quotes = "", .is_prose = true},
    {.name = "latex", .extensions = "tex sty cls bib",
     .line_comment = "%", .quotes = "", .is_prose = true},
    {.name = "plaintext", .extensions = "txt text log",
     .quotes = "", .is_prose = true},
};
/* clang-format on */
#define N_LANGUAGES (sizeof languages / sizeof languages[0])

/* What else languages are called: by editors, and as interpreters in the first line of scripts. */
static const char *const aliases[][2] = {
    {"sh", "shellscript"},
    {"bash", "shellscript"},
    {"dash", "shellscript"},
    {"zsh", "shellscript"},
    {"ksh", "shellscript"},
    {"node", "javascript"},
    {"nodejs", "javascript"},
    {"bun", "javascript"},
    {"js", "javascript"},
    {"jsx", "javascriptreact"},
    {"deno", "typescript"},
    {"ts", "typescript"},
    {"tsx", "typescriptreact"},
    {"py", "python"},
    {"pypy", "python"},
    {"c++", "cpp"},
    {"cuda", "cpp"},
    {"cs", "csharp"},
    {"objc", "objective-c"},
    {"golang", "go"},
    {"rs", "rust"},
    {"luajit", "lua"},
    {"Rscript", "r"},
    {"pwsh", "powershell"},
    {"tclsh", "tcl"},
    {"gawk", "awk"},
    {"mawk", "awk"},
    {"make", "makefile"},
    {"yml", "yaml"},
    {"proto", "proto3"},
    {"protobuf", "proto3"},
    {"hcl", "terraform"},
    {"tex", "latex"},
    {"rst", "restructuredtext"},
    {"dosini", "ini"},
    {"conf", "ini"},
    {"text", "plaintext"},
    {"plain", "plaintext"},
    {"scheme", "lisp"},
    {"racket", "lisp"},
    {"commonlisp", "lisp"},
    {"systemverilog", "verilog"},
    {"vimscript", "vim"},
    {"json5", "jsonc"},
    {"bazel", "starlark"},
};
#define N_ALIASES (sizeof aliases / sizeof aliases[0])

static const struct language *find_name(const char *name, size_t len)
{
    for (size_t i = 0; i < N_LANGUAGES; i++) {
        const char *own = languages[i].name;
        if (strlen(own) == len && memcmp(own, name, len) == 0) return &languages[i];
    }
    for (size_t i = 0; i < N_ALIASES; i++) {
        const char *own = aliases[i][0];
        if (strlen(own) == len && memcmp(own, name, len) == 0)
            return find_name(aliases[i][1], strlen(aliases[i][1]));
    }
    return NULL;
}

const struct language *language_of_id(const char *id)
{
    return find_name(id, strlen(id));
}

/* --- By path ----------------------------------------------------------------------------------------- */

/* Whether a file's name is one of the words, or ends in a dot and one of them. Names are compared as they
 * are, endings in any case. */
static bool name_matches(const char *file, size_t len, const char *words)
{
    while (*words) {
        size_t n = strcspn(words, " ");
        if (n == len && memcmp(file, words, n) == 0) return true;
        if (n < len && file[len - n - 1] == '.' && strncasecmp(file + len - n, words, n) == 0) return true;
        words += n;
        words += strspn(words, " ");
    }
    return false;
}

static const struct language *find_file(const char *file)
{
    size_t len = strlen(file);
    for (size_t i = 0; i < N_LANGUAGES; i++) {
        if (name_matches(file, len, languages[i].extensions)) return &languages[i];
    }
    return NULL;
}

/* The language of "#! /usr/bin/env -S python3.11 -u": the last part of the first word that is neither `env`
 * nor an option nor a variable, without its version. */
static const struct language *find_interpreter(const char *text, size_t len)
{
    if (len < 2 || text[0] != '#' || text[1] != '!') return NULL;
    const char *end = memchr(text, '\n', len);
    if (!end) end = text + len;
    for (const char *at = text + 2; at < end;) {
        while (at < end && isspace((unsigned char)*at)) at++;
        const char *word = at, *name = at;
        for (; at < end && !isspace((unsigned char)*at); at++) {
            if (*at == '/') name = at + 1;
        }
        size_t n = (size_t)(at - name);
        if (n == 0 || *word == '-' || memchr(word, '=', (size_t)(at - word))) continue;
        if (n == 3 && memcmp(name, "env", 3) == 0) continue;
        while (n > 1 && (isdigit((unsigned char)name[n - 1]) || name[n - 1] == '.')) n--;
        return find_name(name, n);
    }
    return NULL;
}

static bool line_begins(const char *line, size_t len, const char *word)
{
    size_t n = strlen(word);
    return len >= n && memcmp(line, word, n) == 0;
}

/* A line that only C++ has. Words alone would not do: comments begin lines with "class" too. */
static bool is_cpp_line(const char *line, size_t len)
{
    while (len > 0 && isspace((unsigned char)line[len - 1])) len--;
    if (line_begins(line, len, "public:") || line_begins(line, len, "private:") ||
        line_begins(line, len, "protected:") || line_begins(line, len, "template <") ||
        line_begins(line, len, "template<"))
        return true;
    if (!line_begins(line, len, "class ") && !line_begins(line, len, "namespace ")) return false;
    return len > 0 && (line[len - 1] == '{' || line[len - 1] == ';');
}

#define SNIFF_BYTES_MAX 16384 /* of a header: its first declarations stand within */

static bool reads_like_cpp(const char *text, size_t len)
{
    if (len > SNIFF_BYTES_MAX) len = SNIFF_BYTES_MAX;
    for (size_t at = 0; at < len;) {
        while (at < len && (text[at] == ' ' || text[at] == '\t')) at++;
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at;
        if (is_cpp_line(text + at, n)) return true;
        at += n + 1;
    }
    return false;
}

const struct language *language_of_path(const char *path, const char *text, size_t len)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    const struct language *l = find_file(file);
    if (!l && text) l = find_interpreter(text, len);
    if (!l) return &languages[N_LANGUAGES - 1]; /* plain text */
    if (text && strcmp(l->name, "c") == 0 && name_matches(file, strlen(file), "h") &&
        reads_like_cpp(text, len))
        return find_name("cpp", 3);
    return l;
}
