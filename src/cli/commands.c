/* The table of commands. */
#include <stddef.h>

#include "cli/cli.h"

const struct cli_command cli_commands[] = {
    {"complete", "FILE [--line L [--column C]] [--json] [--stream] [--show] ...",
     "Complete code at a place in a file",
     "FILE is a path, or - for standard input. L and C count from 1, C in characters; without --line, the "
     "end\n"
     "of the file is completed; without --column, the end of the line.\n\n"
     "  --json               one object with the text, why it ended, and timings\n"
     "  --stream             print pieces as they come (with --json: an object a line, the result last)\n"
     "  --show               print the suggestion in its place, for people\n"
     "  --color WHEN         of --show: auto, always or never\n"
     "  --name NAME          file name that the model is told, instead of FILE\n"
     "  --max-prompt-tokens N  text before and after the cursor that the model sees\n"
     "  --temperature T, --top-k K, --top-p P, --min-p P, --repeat-penalty R, --seed S\n"
     "                       sampling; without a temperature, the likeliest token is always taken\n"
     "  --infill             end early when the model is unsure\n",
     cli_complete},
    {"model", "list|pull|import|info|check|pack|rm ...", "Install, inspect and remove models",
     "  list [--available] [--json]\n"
     "      Installed models, or those that can be pulled by name.\n"
     "  pull NAME|hf:OWNER/REPO/FILE|URL [--name N] [--force] [--json]\n"
     "      Download, verify and install. Interrupted downloads resume when run again.\n"
     "  import FILE [--name N] [--force] [--json]\n"
     "      Install a GGUF file that is on this machine.\n"
     "  info [MODEL] [--json]\n"
     "      What a model is: a name or a path; none means the one that completion would use.\n"
     "  check [MODEL] [--json]\n"
     "      Read all of a model and verify it.\n"
     "  pack [MODEL] [--remove] [--json]\n"
     "      Write a model's weights in the layout that computing reads fastest, or delete that copy.\n"
     "      pull and import do this by themselves (setting model.pack).\n"
     "  rm NAME [--yes]\n"
     "      Delete an installed model.\n",
     cli_model},
    {"config", "[--json|--markdown]", "Show every setting and where it came from",
     "--markdown prints the documentation of the settings instead.\n", cli_config},
    {"bench", "model [MODEL] [--runs N] [--json]", "Measure speed on this machine",
     "Prefill and decode speed, load time and memory of a model, and the memory bandwidth that bounds "
     "them.\n",
     cli_bench},
    {"tokenize", "FILE|- | --text TEXT [--special] [--bos] [--ids] [--json]",
     "Show how a model's tokenizer cuts a text",
     "  --special  special tokens' text in the input becomes those tokens\n"
     "  --bos      begin as the model wants texts to begin\n"
     "  --ids      numbers only\n",
     cli_tokenize},
    {"logits", "[MODEL] --prompt TEXT|--file FILE|--tokens IDS [--top N] [--greedy N] [--json]",
     "Show what a model predicts after a text",
     "  --top N     the N likeliest next tokens\n"
     "  --greedy N  the N tokens that follow, with --json\n"
     "For comparing with other engines.\n",
     cli_logits},
    {NULL, NULL, NULL, NULL, NULL},
};
