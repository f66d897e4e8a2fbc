/* Code completion inside a program: the whole of inline.h in three requests.
 *
 *     cc embed.c -linline -o embed && ./embed MODEL
 *
 * MODEL is a GGUF file or the name of an installed model. */
#include <stdio.h>
#include <string.h>

#include <inline.h>

static const char before[] =
    "#include <stdio.h>\n\n/* The larger of two numbers. */\nint max(int a, int b)\n{\n    ";
static const char after[] = "\n}\n\nint main(void)\n{\n    printf(\"%d\\n\", max(1, 2));\n    return 0;\n}\n";

/* Streaming: print each piece as it comes. */
static bool print_piece(void *user, const char *text, size_t len)
{
    (void)user;
    fwrite(text, 1, len, stdout);
    fflush(stdout);
    return true;
}

/* Cancel from inside the callback; inline_cancel may be called from any other thread as well. */
static bool cancel_at_once(void *user, const char *text, size_t len)
{
    (void)text, (void)len;
    inline_cancel(user);
    return true;
}

/* Run one request and say how it went. */
static bool complete(struct inline_model *m, const struct inline_request *request)
{
    char error[INLINE_ERROR_MAX];
    struct inline_result result;
    if (!inline_complete(m, request, &result, error)) {
        fprintf(stderr, "embed: %s\n", error);
        return false;
    }
    if (!request->on_text) printf("%s", result.text);
    printf("\n-- %zu bytes, %d tokens, %s; %d of %d prompt tokens reused; %.1f + %.1f ms\n", result.len,
           result.generated_tokens, result.stop_reason, result.reused_tokens, result.prompt_tokens,
           result.prompt_ms, result.generate_ms);
    inline_result_clear(&result);
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 2) return fprintf(stderr, "usage: embed MODEL\n"), 2;
    char error[INLINE_ERROR_MAX];
    struct inline_model *m = inline_open(argv[1], NULL, error);
    if (!m) return fprintf(stderr, "embed: %s\n", error), 1;

    struct inline_info info;
    inline_info(m, &info);
    printf("%s (%s), FIM %s, loaded in %.1f ms\n", info.name, info.architecture, info.fim_family,
           info.load_ms);

    char text[sizeof before + sizeof after];
    snprintf(text, sizeof text, "%s%s", before, after);
    struct inline_request request = {
        .text = text, .len = strlen(text), .cursor = strlen(before), .max_tokens = 32};
    bool ok = complete(m, &request); /* blocking: the text comes at the end */

    request.on_text = print_piece; /* streaming; the prompt is known by now and not computed again */
    ok = ok && complete(m, &request);

    request.on_text = cancel_at_once; /* ends with stop reason "cancelled" */
    request.user = m;
    ok = ok && complete(m, &request);

    inline_close(m);
    return ok ? 0 : 1;
}
