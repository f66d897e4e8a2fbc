/* Secrets are found, all of each and nothing besides, and ordinary text is left as it is. With the argument
 * `list` the program prints the planted secrets for tests in other languages: language, what stands before,
 * secret, what stands behind, each ended by the byte 1, and each secret's four by the byte 2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "context/secret_value.h"
#include "context/secrets.h"
#include "os/file.h"
#include "support/planted_secrets.h"

#define TEXT_MAX ((size_t)1 << 24)

static struct secrets *make(const char *names, const char *contents)
{
    struct secrets *s = NULL;
    struct errmsg msg = {0};
    struct secrets_options o = {.names = names, .contents = contents};
    assert_int_equal(secrets_new(&o, &s, &msg), OK);
    return s;
}

/* What masking makes of a text, and how many secrets it had. Mem_free it. */
static char *mask(const struct secrets *s, const char *text, size_t len, int32_t *n)
{
    struct buf out;
    buf_init(&out, TEXT_MAX);
    assert_int_equal(secrets_mask(s, text, len, &out, n), OK);
    return buf_take(&out);
}

static void assert_masked(const struct secrets *s, const char *text, const char *expected)
{
    int32_t n;
    char *masked = mask(s, text, strlen(text), &n);
    assert_string_equal(masked, expected);
    mem_free(masked);
}

static void assert_unchanged(const struct secrets *s, const char *text)
{
    assert_masked(s, text, text);
}

static void test_planted_secrets(void **state)
{
    (void)state;
    struct secrets *s = make(NULL, NULL);
    for (int i = 0; i < PLANTED_SECRETS; i++) {
        struct planted_secret p;
        char line[4096], expected[4096];
        planted_secret(i, &p);
        (void)snprintf(line, sizeof line, "%s%s%s", p.before, p.secret, p.after);
        (void)snprintf(expected, sizeof expected, "%s" SECRETS_MASK "%s", p.before, p.after);
        assert_masked(s, line, expected);
        (void)snprintf(line, sizeof line, "int a;\r\n%s%s%sint b;\n", p.before, p.secret, p.after);
        (void)snprintf(expected, sizeof expected, "int a;\r\n%s" SECRETS_MASK "%sint b;\n", p.before,
                       p.after);
        assert_masked(s, line, expected);
    }
    secrets_free(&s);
}

/* All of them in one text: each is found, and what is between them stays. */
static void test_all_in_one_text(void **state)
{
    (void)state;
    struct secrets *s = make(NULL, NULL);
    struct buf text, expected;
    buf_init(&text, TEXT_MAX);
    buf_init(&expected, TEXT_MAX);
    for (int i = 0; i < PLANTED_SECRETS; i++) {
        struct planted_secret p;
        planted_secret(i, &p);
        buf_printf(&text, "%s%s%sfor (int i = 0; i < n; i++) work(i);\n", p.before, p.secret, p.after);
        buf_printf(&expected, "%s" SECRETS_MASK "%sfor (int i = 0; i < n; i++) work(i);\n", p.before,
                   p.after);
    }
    int32_t n;
    char *masked = mask(s, text.data, text.len, &n);
    assert_int_equal(n, PLANTED_SECRETS);
    assert_string_equal(masked, expected.data);
    char *again = mask(s, masked, strlen(masked), &n);
    assert_int_equal(n, 0);
    assert_string_equal(again, masked);
    mem_free(masked);
    mem_free(again);

    size_t start, end, from = 0;
    int32_t n_found = 0;
    while (secrets_find(s, text.data, text.len, from, &start, &end)) {
        assert_true(from <= start && start < end && end <= text.len);
        from = end;
        n_found++;
    }
    assert_int_equal(n_found, PLANTED_SECRETS);
    buf_clear(&text);
    buf_clear(&expected);
    secrets_free(&s);
}

static void test_ordinary_text_stays(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "password = get_password()\n",
        "password = \"\"\n",
        "password = \"changeme\"\n",
        "    password: ${DB_PASSWORD}\n",
        "    password: {{ vault_password }}\n",
        "token = os.environ[\"GITHUB_TOKEN\"]\n",
        "const token = process.env.GITHUB_TOKEN;\n",
        "api_key = \"your-api-key\"\n",
        "api_key = \"<your api key>\"\n",
        "api_key: 'xxxxxxxxxxxxxxxxxxxxxxxx'\n",
        "secret = config.secret_v2\n",
        "struct token *token = tokens + token_at2;\n",
        "tokenizer = AutoTokenizer.from_pretrained(\"gpt2-xl-1542M\")\n",
        "tokenizer: \"Qwen2.5-Coder-7B-Q4_K_M\"\n",
        "if (token == TOKEN_IDENTIFIER) return next_token(lexer, token);\n",
        "PASSWORD_RE = re.compile(r\"password=(?P<value>[^&]+)\")\n",
        "grant_type = \"urn:ietf:params:oauth:grant-type:jwt-bearer\"\n",
        "token_url = \"https://example.com/oauth2/v2.0/token\"\n",
        "fetch(\"http://localhost:8080/users@2x.png\")\n",
        "git@github.com:owner/name.git\n",
        "ssh://git@github.com:22/owner/name.git\n",
        ".sk-fading-circle .sk-circle12:before { animation-delay: 0.1s }\n",
        "sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n",
        "commit 5d41402abc4b2a76b9719d911017c5925d414020\n",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4\n",
        "if (strstr(s, \"-----BEGIN RSA PRIVATE KEY-----\")) return read_private_key_of_some_kind(s);\n",
        "#define PEM \"-----BEGIN PRIVATE KEY-----\"\n#define PEM_END \"-----END PRIVATE KEY-----\"\n",
        "Authorization: Bearer <token>\n",
        "headers[\"Authorization\"] = f\"Bearer {token}\"\n",
        "/* The password must have at least 8 characters. */\n",
        "<input type=\"password\" name=\"password\" placeholder=\"Password1\">\n",
        "export const SECRET_KEY = 'SECRET_KEY';\n",
        "    | Token::ZeroFillRShiftEq\n",
        "send(\"CONNECT {\\\"auth_token\\\":\\\"s3cr3t\\\",\\\"user\\\":\\\"a4b5c6d7e8\\\"}\\r\\n\")\n",
        "case TOKEN_LPAREN: return \"token-left-paren\";\n",
        "private_key_path = \"/etc/ssl/private/server1.key\"\n",
    };
    struct secrets *s = make(NULL, NULL);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) assert_unchanged(s, lines[i]);
    secrets_free(&s);
}

/* --- Keys that a window cut -------------------------------------------------------------------------- */

static void test_cut_keys(void **state)
{
    (void)state;
    struct secrets *s = make(NULL, NULL);
    for (int i = 0; i < PLANTED_SECRETS; i++) {
        struct planted_secret p;
        planted_secret(i, &p);
        if (!strstr(p.before, "-----BEGIN") || strstr(p.before, "\\n")) continue;
        char text[4096];
        (void)snprintf(text, sizeof text, "%s%s%s", p.before, p.secret, p.after);
        /* From any line on, and up to any line: nothing of the key is left. */
        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
            for (const char *end = strchr(line, '\n'); end; end = strchr(end + 1, '\n')) {
                int32_t n, n_lines = 0;
                for (const char *c = line; c < end; c++) n_lines += *c == '\n';
                bool has_mark = memmem(line, (size_t)(end - line), "-----", 5) != NULL;
                if (!has_mark && n_lines < 3) continue; /* two lines of base64 may be anything */
                char *masked = mask(s, line, (size_t)(end - line), &n);
                for (const char *c = p.secret; strlen(c) >= 16; c++) {
                    char part[17] = {0};
                    memcpy(part, c, 16);
                    if (strchr(part, '\n') || strchr(part, ' ')) continue;
                    assert_null(strstr(masked, part));
                }
                mem_free(masked);
            }
        }
    }
    secrets_free(&s);
}

/* --- Any text ---------------------------------------------------------------------------------------- */

/* Finding says what masking does, for every prefix: nothing depends on what was cut off. */
static void test_prefixes(void **state)
{
    (void)state;
    struct secrets *s = make(NULL, "x{3}y");
    for (int i = 0; i < PLANTED_SECRETS; i++) {
        struct planted_secret p;
        char line[4096];
        planted_secret(i, &p);
        int len = snprintf(line, sizeof line, "%s%s%s", p.before, p.secret, p.after);
        for (size_t n = 0; n <= (size_t)len; n++) {
            size_t start, end;
            int32_t count;
            char *cut = mem_try(n + 1, 1); /* its own block, so that reading past it is noticed */
            assert_non_null(cut);
            memcpy(cut, line, n);
            bool is_found = secrets_find(s, cut, n, 0, &start, &end);
            char *masked = mask(s, cut, n, &count);
            assert_int_equal(is_found, count > 0);
            if (is_found) assert_memory_equal(masked, cut, start);
            mem_free(masked);
            mem_free(cut);
        }
    }
    secrets_free(&s);
}

static void test_random_bytes(void **state)
{
    (void)state;
    struct secrets *s = make(NULL, "(a+)+$\n\\d{5}");
    uint64_t random = 88172645463325252u;
    char text[2000];
    for (int round = 0; round < 300; round++) {
        size_t start, end, from = 0;
        for (size_t i = 0; i < sizeof text; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            text[i] =
                (round % 2 ? (char)(random >> 13) : "passwordtokenAKIA\"':=/-_eyJ.\n@+ "[random >> 13 & 31]);
        }
        while (secrets_find(s, text, sizeof text, from, &start, &end)) {
            assert_true(from <= start && start < end && end <= sizeof text);
            from = end;
        }
    }
    secrets_free(&s);
}

/* --- Files ------------------------------------------------------------------------------------------- */

static void test_files(void **state)
{
    (void)state;
    static const char *const secret[] = {
        ".env",
        "a/b/.env.production",
        "C:\\work\\.ENV",
        "server.pem",
        "/etc/ssl/a.key",
        "id_rsa",
        "/home/u/.ssh/id_ed25519",
        ".netrc",
        ".npmrc",
        ".aws/credentials",
        "u/.docker/config.json",
        "terraform.tfstate",
        "prod.tfvars",
        "credentials.json",
        "config/secrets.yml",
        "service-account-prod.json",
        "store.JKS",
        ".git-credentials",
        "kubeconfig",
        ".kube/config",
    };
    static const char *const harmless[] = {
        ".env.example",
        "a/.env.sample",
        ".env.template",
        "id_rsa.pub",
        "main.c",
        "config.json",
        "a/config",
        "keys.c",
        "environment.ts",
        "secrets.c",
        "pem.c",
        "credentials.ts",
        "env",
        "",
        "token.c",
    };
    struct secrets *s = make("*.vault  config/*.prod", NULL);
    for (size_t i = 0; i < sizeof secret / sizeof *secret; i++) assert_true(secrets_is_file(s, secret[i]));
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        assert_false(secrets_is_file(s, harmless[i]));
    }
    assert_true(secrets_is_file(s, "a/b/keys.vault"));
    assert_true(secrets_is_file(s, "a/config/x.prod"));
    assert_false(secrets_is_file(s, "a/other/x.prod"));
    secrets_free(&s);
}

/* --- The user's own patterns ------------------------------------------------------------------------- */

static void test_user_patterns(void **state)
{
    (void)state;
    struct secrets *s = make(NULL, "ACME-[0-9]{4}\r\n\ncustomer=(\\w+)");
    assert_masked(s, "id ACME-1234, customer=smith;\n", "id REDACTED, customer=REDACTED;\n");
    assert_masked(s, "ACME-1\nACME-2222 ACME-3333\n", "ACME-1\nREDACTED REDACTED\n");
    secrets_free(&s);
    struct errmsg msg;
    struct secrets_options o = {.contents = "fine\n(unclosed"};
    assert_int_equal(secrets_new(&o, &s, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "(unclosed"));
    assert_null(s);
    secrets_free(&s);
}

/* An expression that would take ages is cut short, and what it could not decide is not shown. */
static void test_user_patterns_cannot_hang(void **state)
{
    (void)state;
    struct secrets *s = make(NULL, "(x+x+)+[yz]");
    char text[8192];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    memcpy(text, "before\n", 7);
    memcpy(text + sizeof text - 8, "\nafter\n", 7);
    int32_t n;
    char *masked = mask(s, text, strlen(text), &n);
    assert_true(n > 0);
    assert_memory_equal(masked, "before\n", 7);
    assert_string_equal(masked + strlen(masked) - 7, "\nafter\n");
    assert_null(strstr(masked, "xxx"));
    mem_free(masked);
    secrets_free(&s);
}

static void test_values(void **state)
{
    (void)state;
    assert_true(secret_value_is_random("a8f3k2m9", 8));
    assert_false(secret_value_is_random("accessTokenValue2", 17));
    assert_false(secret_value_is_random("aaaa1aaaa1a", 11));
    assert_true(secret_value_is_placeholder("your-api-key-here", 17));
    assert_true(secret_value_is_placeholder("", 0));
    assert_false(secret_value_is_placeholder("k3jH8sLq2Z", 10));
    assert_true(secret_value_is_password("Winter2024!", 11));
    assert_false(secret_value_is_password("winter", 6));
    assert_true(secret_value_is_named("API_TOKEN", 9));
    assert_false(secret_value_is_named("token_url", 9));
    assert_false(secret_value_is_named("tokenizer", 9));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planted_secrets),
        cmocka_unit_test(test_all_in_one_text),
        cmocka_unit_test(test_ordinary_text_stays),
        cmocka_unit_test(test_cut_keys),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_user_patterns),
        cmocka_unit_test(test_user_patterns_cannot_hang),
        cmocka_unit_test(test_values),
    };
    if (argc > 1 && strcmp(argv[1], "list") == 0) {
        for (int i = 0; i < PLANTED_SECRETS; i++) {
            struct planted_secret p;
            planted_secret(i, &p);
            (void)printf("%s\1%s\1%s\1%s\1\2", p.language, p.before, p.secret, p.after);
        }
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
