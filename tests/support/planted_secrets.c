/* Data table: secrets by their shapes. In `secret`, %X12 stands for 12 random characters of the class X;
 * everything else stands for itself. Prefixes are written in two halves for scanners that read this file. */
#include "support/planted_secrets.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *language, *before, *secret, *after;
};

#define KEY_LINES "%b64\n%b64\n%b64\n%b64\n%b64\n%b64\n%b43="

static const struct row rows[PLANTED_SECRETS] = {
    {"python", "client = boto3.client('s3', aws_access_key_id='",
     "AK"
     "IA%U16",
     "')\n"},
    {"yaml", "  aws_secret_access_key: ", "%B40", "\n"},
    {"shell", "export AWS_SECRET_ACCESS_KEY=", "%B40", "\n"},
    {"c", "static const char *key_id = \"",
     "AS"
     "IA%U16",
     "\";\n"},
    {"javascript", "const octokit = new Octokit({ auth: '",
     "gh"
     "p_%A36",
     "' });\n"},
    {"shell", "git clone https://x-access-token:",
     "gh"
     "s_%A36",
     "@github.com/a/b.git\n"},
    {"yaml", "  github: ",
     "github"
     "_pat_%A22_%A59",
     "  # rotate\n"},
    {"shell", "curl -H 'PRIVATE-TOKEN: ",
     "gl"
     "pat-%A20",
     "' https://gitlab.com/api/v4/user\n"},
    {"python", "slack = WebClient(\"",
     "xo"
     "xb-%d12-%d12-%A24",
     "\")\n"},
    {"javascript",
     "fetch('https://hooks.slack.com/"
     "services/",
     "T%U10/B%U10/%A24", "', { method: 'POST' })\n"},
    {"javascript", "const stripe = require('stripe')('",
     "sk"
     "_live_%A24",
     "');\n"},
    {"python", "stripe.api_key = \"",
     "rk"
     "_test_%A40",
     "\"\n"},
    {"javascript", "const hook = '",
     "wh"
     "sec_%A32",
     "';\n"},
    {"javascript", "  apiKey: \"",
     "AI"
     "za%w35",
     "\",\n"},
    {"python", "credentials = Credentials('",
     "ya"
     "29.%w60",
     "')\n"},
    {"yaml", "client_secret: ",
     "GOC"
     "SPX-%w28",
     "\n"},
    {"python", "openai.api_key = '",
     "sk"
     "-%A48",
     "'\n"},
    {"shell", "OPENAI_API_KEY=",
     "sk"
     "-proj-%w64",
     "\n"},
    {"python", "anthropic.Anthropic(api_key=\"",
     "sk"
     "-ant-api03-%w93AA",
     "\")\n"},
    {"python", "login(\"",
     "hf"
     "_%A34",
     "\")\n"},
    {"shell", "//registry.npmjs.org/:_authToken=",
     "np"
     "m_%A36",
     "\n"},
    {"shell", "twine upload -u __token__ -p ",
     "py"
     "pi-AgEIcHlwaS5vcmc%w80",
     " dist/*\n"},
    {"python", "sg = SendGridAPIClient('",
     "S"
     "G.%w22.%w43",
     "')\n"},
    {"javascript", "twilio('",
     "S"
     "K%h32",
     "', secret)\n"},
    {"python", "auth_token = \"", "%h32", "\"\n"},
    {"javascript", "client.login('", "M%A23.%A6.%w27", "');\n"},
    {"javascript",
     "new WebhookClient({ url: 'https://discord.com/"
     "api/webhooks/123456789/",
     "%w68", "' });\n"},
    {"python", "bot = Bot(\"123456789:",
     "A"
     "A%w33",
     "\")\n"},
    {"javascript", "const jwt = '",
     "ey"
     "J%A33.ey"
     "J%A60.%w43",
     "';\n"},
    {"shell", "curl -H \"Authorization: Bearer ", "%A40", "\" https://example.com/\n"},
    {"python", "headers = {\"Authorization\": \"Basic ", "%A28", "\"}\n"},
    {"c", "curl_easy_setopt(c, CURLOPT_URL, \"https://deploy:", "%A14", "@db.internal/\");\n"},
    {"yaml", "DATABASE_URL: postgres://app:", "%A18", "@db:5432/app\n"},
    {"python", "engine = create_engine('mysql://root:", "%A9!%A4", "@localhost/shop')\n"},
    {"c", "#define API_TOKEN \"", "%A32", "\"\n"},
    {"c", "    .password = \"", "%l3%d2%u2!%A6", "\",\n"},
    {"c", "const char wifi_password[] = \"", "%A8#%d3%l3", "\";\n"},
    {"python", "DB_PASSWORD = os.environ.get('DB_PASSWORD', '", "%A16", "')\n"},
    {"python", "    \"password\": \"", "%A12", "\",\n"},
    {"javascript", "const SECRET_TOKEN = `", "%h40", "`;\n"},
    {"javascript", "  clientSecret: '", "%w32", "',\n"},
    {"yaml", "    password: ", "%A20", "\n"},
    {"yaml", "      - REDIS_PASSWORD=", "%A24", "\n"},
    {"yaml", "encryption_key: '", "%h64", "'\n"},
    {"shell", "mysqldump --user=root --password=", "%A15", " shop > dump.sql\n"},
    {"shell", "SESSION_SECRET=", "%b44", "\n"},
    {"c",
     "/* -----BEGIN RSA PRIVATE "
     "KEY-----\n",
     KEY_LINES,
     "\n-----END RSA PRIVATE "
     "KEY----- */\n"},
    {"yaml",
     "  key: |\n    -----BEGIN PRIVATE "
     "KEY-----\n    ",
     "%b64\n    %b64\n    %b64\n    %b52==",
     "\n    -----END PRIVATE "
     "KEY-----\n"},
    {"javascript",
     "  \"private_key\": \"-----BEGIN PRIVATE "
     "KEY-----\\n",
     "%b64\\n%b64\\n%b64\\n%b20=",
     "\\n-----END PRIVATE "
     "KEY-----\\n\",\n"},
    {"python", "token = '",
     "do"
     "p_v1_%h64",
     "'\n"},
};

static const char *class_of(char c)
{
    static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    static char alnum[63];
    switch (c) {
    case 'U':
        return "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    case 'u':
        return "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    case 'l':
        return "abcdefghijklmnopqrstuvwxyz";
    case 'd':
        return "0123456789";
    case 'h':
        return "0123456789abcdef";
    case 'w':
        return all;
    case 'b':
    case 'B':
        return "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    default:
        memcpy(alnum, all, 62);
        return alnum;
    }
}

/* xorshift64 (Marsaglia 2003). */
static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

void planted_secret(int i, struct planted_secret *out)
{
    const struct row *r = &rows[i];
    uint64_t state = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
    size_t n = 0;
    *out = (struct planted_secret){.language = r->language};
    (void)snprintf(out->before, sizeof out->before, "%s", r->before);
    (void)snprintf(out->after, sizeof out->after, "%s", r->after);
    for (const char *p = r->secret; *p;) {
        if (*p != '%') {
            out->secret[n++] = *p++;
            continue;
        }
        const char *chars = class_of(p[1]);
        char *end;
        for (long k = strtol(p + 2, &end, 10); k > 0; k--) {
            out->secret[n++] = chars[next(&state) % strlen(chars)];
        }
        p = end;
    }
}
