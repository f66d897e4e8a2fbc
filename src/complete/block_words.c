/* A data table, and how to find a row in it. */
#include "complete/block_words.h"

#include <string.h>

static const struct block_words rows[] = {
    {"lua", "do else repeat then", "function", "end until", "else elseif"},
    {"shellscript", "do else in then", "", "done esac fi", "do elif else then"},
    {"ruby", "begin do else ensure rescue then", "class def module", "end", "else elsif ensure rescue when"},
    {"elixir", "after do else rescue", "", "end", "after else rescue"},
    {"julia", "begin do else finally", "function module struct", "end", "catch else elseif finally"},
};

/* Elsewhere brackets or indentation do, and words only go on with a statement. */
static const struct block_words others = {NULL, "", "", "", "catch elif else except finally where"};

const struct block_words *block_words_of(const struct language *l)
{
    for (size_t i = 0; l && i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].language, l->name) == 0) return &rows[i];
    }
    return &others;
}
