/* The catalogue. The order is the order of preference where a command picks a model by itself: what
 * answers within a keystroke's patience on an ordinary CPU comes first. Base models complete code better
 * than instruction-tuned ones, which tend to explain it; all but the last were trained to fill in the
 * middle. Sizes and hashes are given only where they are certain. */
#include "model/catalogue.h"

#include <stddef.h>
#include <strings.h>

static const struct catalogue_entry entries[] = {
    {"qwen2.5-coder-1.5b", "ggml-org/Qwen2.5-Coder-1.5B-Q8_0-GGUF/qwen2.5-coder-1.5b-q8_0.gguf", 0, NULL,
     "the best balance on a laptop's CPU"},
    {"qwen2.5-coder-0.5b", "ggml-org/Qwen2.5-Coder-0.5B-Q8_0-GGUF/qwen2.5-coder-0.5b-q8_0.gguf", 0, NULL,
     "the fastest useful one; start here"},
    {"qwen2.5-coder-3b", "ggml-org/Qwen2.5-Coder-3B-Q8_0-GGUF/qwen2.5-coder-3b-q8_0.gguf", 0, NULL,
     "better, for eight or more fast cores"},
    {"granite-code-3b", "ibm-granite/granite-3b-code-base-2k-GGUF/granite-3b-code-base.Q4_K_M.gguf", 0, NULL,
     "116 languages, trained on permissively licensed code"},
    {"starcoder2-3b", "second-state/StarCoder2-3B-GGUF/starcoder2-3b-Q4_K_M.gguf", 0, NULL,
     "17 languages, knows repositories"},
    {"deepseek-coder-1.3b", "TheBloke/deepseek-coder-1.3b-base-GGUF/deepseek-coder-1.3b-base.Q8_0.gguf", 0,
     NULL, "small, strong on Python"},
    {"mellum-4b", "JetBrains/Mellum-4b-base-gguf/mellum-4b-base.Q8_0.gguf", 0, NULL,
     "made for completion only, strong on Kotlin, Java and Python"},
    {"qwen2.5-coder-7b", "ggml-org/Qwen2.5-Coder-7B-Q8_0-GGUF/qwen2.5-coder-7b-q8_0.gguf", 0, NULL,
     "for a workstation"},
    {"granite-code-8b", "ibm-granite/granite-8b-code-base-4k-GGUF/granite-8b-code-base.Q4_K_M.gguf", 0, NULL,
     "116 languages, for a workstation"},
    {"seed-coder-8b", "mradermacher/Seed-Coder-8B-Base-GGUF/Seed-Coder-8B-Base.Q4_K_M.gguf", 0, NULL,
     "for a workstation"},
    {"qwen3-coder-30b-a3b",
     "ggml-org/Qwen3-Coder-30B-A3B-Instruct-Q8_0-GGUF/qwen3-coder-30b-a3b-instruct-q8_0.gguf", 0, NULL,
     "the best here, with 3B of 30B parameters active; needs 36 GB of memory"},
    {"smollm2-135m", "bartowski/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct-Q4_K_M.gguf", 0, NULL,
     "tiny and not made for code: to try Inline out"},
};

const struct catalogue_entry *catalogue_find(const char *name)
{
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (strcasecmp(entries[i].name, name) == 0) return &entries[i];
    }
    return NULL;
}

const struct catalogue_entry *catalogue_at(int32_t i)
{
    return i >= 0 && (size_t)i < sizeof entries / sizeof *entries ? &entries[i] : NULL;
}
