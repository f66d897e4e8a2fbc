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
     "  --infill             end early when the model is unsure\n"
     "  --no-daemon          load the model here even if a daemon runs\n"
     "  --max-prompt-ms N    give up reading the text after so long\n"
     "  --max-predict-ms N   end the suggestion after so long\n",
     cli_complete},
    {"serve", "[--listen ADDRESS:PORT] [--socket PATH] [--idle-exit SECONDS] [--if-free]",
     "Answer editors and other clients: the daemon",
     "Completions over HTTP (as llama-server, OpenAI, Tabby and Ollama have it) and over a Unix socket, for\n"
     "all editors of this user at once. Editors' language clients run inline lsp, which starts a daemon by\n"
     "itself.\n\n"
     "  --if-free  do without the address where another program has it\n\n"
     "SIGTERM finishes what runs and ends; SIGHUP reads the configuration again.\n",
     cli_serve},
    {"lsp", "", "The language server that editors start",
     "Joins standard input and output to the daemon, and starts one if none runs.\n", cli_lsp},
    {"model", "recommend|list|pull|import|info|check|plan|pack|load|unload|rm ...",
     "Choose, install, inspect and remove models",
     "  recommend [DIR] [--memory SIZE] [--json]\n"
     "      Which model suits this machine and the languages in DIR (.), with the milliseconds that a\n"
     "      suggestion would take. Measures for a second; needs no model.\n"
     "  list [--available] [--json]\n"
     "      Installed models and those on other machines ([model.NAME] of the settings), or those that can\n"
     "      be pulled by name.\n"
     "  pull NAME|hf:OWNER/REPO/FILE|URL [--name N] [--force] [--json]\n"
     "      Download, verify and install. Interrupted downloads resume when run again.\n"
     "  import FILE [--name N] [--force] [--json]\n"
     "      Install a GGUF file that is on this machine.\n"
     "  info [MODEL] [--json]\n"
     "      What a model is: a name or a path; none means the one that completion would use. Of one on\n"
     "      other machines, what its servers say.\n"
     "  check [MODEL] [--json]\n"
     "      Read all of a model and verify it. Of one on other machines, try its servers: do they take the\n"
     "      key, have the model, fill in the middle, and how fast?\n"
     "  pack [MODEL] [--remove] [--json]\n"
     "      Write a model's weights in the layout that computing reads fastest, or delete that copy.\n"
     "      pull and import do this by themselves (setting models.pack).\n"
     "  plan [MODEL] [--memory SIZE] [--kv-mb N] [--eight-bit q8_0|mxfp8] [--measure]\n"
     "       [--calibrate FILE] [--all] [--json]\n"
     "      The formats that F16 and BF16 weights are computed in with so much memory, or with --precision,\n"
     "      and what that takes. --measure: the perplexity of a short text as stored and as planned.\n"
     "      --calibrate: find the blocks that suffer most from 8 bits, on a text, and keep those as stored.\n"
     "      --all: each tensor by itself.\n"
     "  load NAME, unload NAME [--json]\n"
     "      Have the running daemon load a model, again if it failed, or give its memory back.\n"
     "  rm NAME [--yes]\n"
     "      Delete an installed model.\n",
     cli_model},
    {"cache", "stats|clear|verify ...", "Look at the cached completions, and delete them",
     "  stats [--json]\n"
     "      What each level holds, what a running daemon found where, and what all caches take on disk.\n"
     "  clear [--project DIR] [--file PATH] [--all] [--json]\n"
     "      Delete completions: all, the database of the project in DIR, or what was drawn from a file. "
     "With\n"
     "      --all also saved KV and packed weights, for which no daemon may run.\n"
     "  verify [--json]\n"
     "      Read every database and every completion in it, and say which is damaged.\n",
     cli_cache},
    {"status", "[--metrics] [--json]", "What the running daemon does and holds",
     "Its models, requests, latency, memory and processors, alerts, and what it gave back when the machine\n"
     "was short of them.\n\n"
     "  --metrics  every metric with its value and what it means\n\n"
     "Exit status 1: no daemon runs.\n",
     cli_status},
    {"top", "[--interval SECONDS] [--once]", "Watch the running daemon, live",
     "Latency against its targets, stages, hit rates, memory, models, alerts and the last requests.\n\n"
     "  --interval S  seconds between two looks (1)\n"
     "  --once        print it once, as it does where the output is no terminal\n\n"
     "Keys: q quits, 1 2 3 choose the window, p pauses, arrows and Enter show the story of a request, ? "
     "helps.\n",
     cli_top},
    {"explain", "[ID|last] [--list [N]] [--json]", "Tell the story of a request",
     "Where its milliseconds went, what part of the prompt had to be computed, why nothing was shown. ID is\n"
     "what answers carry and what top and the dashboard show; without one, the last request.\n\n"
     "  --list [N]  the last N requests (20)\n\n"
     "The daemon keeps the last 10,000 in memory, without any text; on disk with journal.days.\n",
     cli_explain},
    {"doctor", "[DIR] [--json]", "Look for what keeps Inline from working well",
     "Checks processors, memory and its limits, graphics processors, disk space, settings, models, the "
     "daemon\n"
     "and editors, says what to do, and recommends a model for the languages in DIR (.). Takes two seconds.\n"
     "Exit status 1: something does not work.\n",
     cli_doctor},
    {"config", "[--json|--markdown]", "Show every setting and where it came from",
     "--markdown prints the documentation of the settings instead.\n", cli_config},
    {"bench", "model|trace|context|cache|targets ...", "Measure speed on this machine",
     "  model [MODEL] [--runs N] [--only NAMES] [--packed auto|on|off|both] [--kv f16|q8_0]\n"
     "        [--neighbour] [--text FILE] [--json]\n"
     "      Loading, prefill, decoding, small batches, how soon a cancelled prefill returns, memory, and "
     "the\n"
     "      memory bandwidth that bounds decoding; with --neighbour decoding beside a busy thread, with\n"
     "      --text the perplexity of a file, with --packed both packed weights beside those of the file.\n"
     "  trace FILE --line L [--column C] --type TEXT|--keys N [--rate R] [--json]\n"
     "      Type into a file and complete after each key: the next N characters of the file, which are "
     "taken\n"
     "      out of it before, or TEXT. With --rate, R keys a second, each of which cancels the answer to "
     "the\n"
     "      one before.\n"
     "  trace FILE... --check [--edits N] [--json]\n"
     "      Edit files all over and compare each answer with one computed from nothing.\n"
     "  trace: [--move on|off] [--refresh] [--order psm|spm|model] [--no-speculation] [--kv f16|q8_0]\n"
     "         [--packed auto|on|off] [--max-prompt-tokens N] [--lines-before N] [--lines-after N]\n"
     "      Whether KV that an edit shifted is reused, and computed again between keys; the prompt's order;\n"
     "      the window around the cursor. Not given, engine.move, engine.kv and engine.speculation hold.\n"
     "  context [MODEL] [--lines N] [--json]\n"
     "      From a text of 3,000 lines to a prompt, and from one of 10,000 after each typed character.\n"
     "  cache [--entries N] [--writers N] [--rate R] [--seconds S] [--json]\n"
     "      Looking completions up in memory, on disk and in a project's database, while N writers write R\n"
     "      completions a second each. Needs no model; works in a temporary directory.\n"
     "  targets [MODEL] [--large MODEL] [--quick] [--json]\n"
     "      What every Inline should reach, measured here: a limit, a figure, and whether it holds.\n",
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
