/* The family that a model's name tells, for models whose vocabulary is not at hand.
 *
 * Names are compared without case and by their letters and digits alone: "Qwen/Qwen2.5-Coder-7B",
 * "qwen2.5-coder:7b" and "qwen2_5_coder-q8_0.gguf" all hold "qwen25coder". Only models that were trained to
 * fill in the middle are told; what they were trained for is from their cards and papers (fim.c). */
#include "context/fim.h"

#include <string.h>

#define NAME_MAX_LEN 255 /* of a longer one the end counts: it is a path */

struct name_rule {
    const char *has, *has_too; /* has_too: or null */
    const char *lacks[2];
    const char *family;
};

/* The first that applies wins. */
static const struct name_rule rules[] = {
    {.has = "qwen25coder", .family = "qwen"},
    {.has = "qwen3coder", .family = "qwen"},
    {.has = "codeqwen", .lacks = {"chat"}, .family = "starcoder"},
    {.has = "starcoder2", .family = "starcoder2"},
    {.has = "starcoder", .family = "starcoder"},
    {.has = "santacoder", .family = "santacoder"},
    {.has = "codellama", .lacks = {"34b", "python"}, .family = "codellama"}, /* these two never saw a hole */
    {.has = "deepseekcoder", .lacks = {"236b"}, .family = "deepseek"},
    {.has = "codegemma", .lacks = {"7bit", "instruct"}, .family = "codegemma"}, /* "7b-it": chat */
    {.has = "codestral", .lacks = {"mamba"}, .family = "codestral"},
    {.has = "granite33", .family = "granite"},
    {.has = "granite4", .family = "granite4"},
    {.has = "granite", .has_too = "code", .family = "starcoder"},
    {.has = "seedcoder", .lacks = {"reasoning"}, .family = "seed-coder"},
    {.has = "mellum", .family = "mellum"},
    {.has = "glm4", .lacks = {"chatglm", "glm4v"}, .family = "glm"},
    {.has = "stablecode", .lacks = {"instruct"}, .family = "starcoder"},
    {.has = "refact16b", .family = "starcoder"}, /* with its size: "refactoring" is a word */
};

static void reduce(const char *name, char out[NAME_MAX_LEN + 1])
{
    size_t len = strlen(name), n = 0;
    if (len > NAME_MAX_LEN) name += len - NAME_MAX_LEN;
    for (; *name; name++) {
        char c = *name;
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) out[n++] = c;
    }
    out[n] = '\0';
}

static bool applies(const struct name_rule *r, const char *name)
{
    if (!strstr(name, r->has) || (r->has_too && !strstr(name, r->has_too))) return false;
    for (size_t i = 0; i < sizeof r->lacks / sizeof r->lacks[0]; i++) {
        if (r->lacks[i] && strstr(name, r->lacks[i])) return false;
    }
    return true;
}

const char *fim_family_of_name(const char *name)
{
    char reduced[NAME_MAX_LEN + 1];
    reduce(name, reduced);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (applies(&rules[i], reduced)) return rules[i].family;
    }
    return NULL;
}
