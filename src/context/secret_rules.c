/* Data table: the shapes of secrets, as their issuers document them.
 *
 * Expressions are PCRE2, on bytes, tried at an anchor only. They look behind where an anchor in the middle of
 * a word means nothing, and quantifiers are possessive where they can be, so that none has much to go back
 * over. */
#include "context/secret_rules.h"

#define BEFORE "(?<![A-Za-z0-9_-])" /* the anchor begins a word */
#define AFTER  "(?![A-Za-z0-9_-])"  /* the token ends there */

/* What stands around the lines of a key that is written as strings of a program or in JSON. */
#define KEY_GAP "(?:\\\\[nr]|[\\s\"'`+,;#*>|]|(?:Proc-Type|DEK-Info|Version|Comment|Hash): ?[^\\n]*+)*+"

/* What stands between a name and what is assigned to it: the name's own quotation mark or bracket, a type, an
 * operator of almost any language, or nothing but space. */
#define NAME_CLOSED "(?:\\\\?+[\"'`])?+\\]?+(?:\\[[\\w ]{0,16}+\\])?+"
#define TYPED       "(?:\\s*+:\\s*+[\\w&<>'\\[\\]*][\\w&<>'\\[\\]* ]{0,24}(?==))?"
#define OPERATOR    NAME_CLOSED TYPED "\\s*+(?::=|=>|[=!]={0,2}|:|\\(|,)?\\s*+"

/* An assignment in a configuration or a program, whose value is a string; a string within a string; an
 * element of XML; a flag or a variable of a command; the rest of a line. */
#define QUOTED   OPERATOR "[rbful@]{0,2}([\"'`])((?:(?!\\1)[^\\s\\\\]|\\\\\\S){8,256}+)(?:\\1|\\z)"
#define ESCAPED  OPERATOR "\\\\([\"'])([^\\s\\\\\"'`]{8,256}+)"
#define ELEMENT  "()>([^<\\s]{8,256}+)</"
#define BARE     "([^\\s\"'`#;,(){}\\[\\]<>\\\\:=~][^\\s\"'`#;,(){}\\[\\]<>\\\\]{7,255}+)"
#define FLAG     "=()" BARE "(?=\\s|\\z)"
#define IS_SET   "(?:\\\\?+[\"'`])?+(?:[ \\t]*+[=:]|(?<=password|token|secret|key)[ ])[ \\t]*+"
#define LINE     IS_SET "()" BARE "(?=[ \\t]*+(?:\\r?$|[#;\\\\]|\\z|[ ]--?[a-z]))"
#define ASSIGNED "[\\w.-]{3,60}+(?|" QUOTED "|" ESCAPED "|" ELEMENT "|" FLAG "|" LINE ")"

const struct secret_rule secret_rules[] = {
    /* Amazon: identifiers of access keys. */
    {"AKIA ASIA", false, SECRET_SHAPE, BEFORE "(?:AKIA|ASIA)[A-Z0-9]{16}" AFTER},
    /* GitHub, GitLab. */
    {"ghp_ gho_ ghu_ ghs_ ghr_", false, SECRET_SHAPE, BEFORE "gh[pousr]_[A-Za-z0-9]{30,255}+"},
    {"github_pat_", false, SECRET_SHAPE, BEFORE "github_pat_\\w{22,255}+"},
    {"glpat- gldt- glrt- glcbt- glptt- glft- glsoat-", false, SECRET_SHAPE,
     BEFORE "gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[\\w.-]{20,255}+"},
    /* Slack, Discord, Telegram. */
    {"xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-", false, SECRET_SHAPE,
     BEFORE "(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,255}+"},
    {"hooks.slack.com/", false, SECRET_SHAPE,
     "hooks\\.slack\\.com/(?:services|workflows)/([A-Za-z0-9/_-]{20,255}+)"},
    {"discord.com/api/ discordapp.com/api/", false, SECRET_SHAPE,
     "discord(?:app)?\\.com/api/webhooks/\\d+/([\\w-]{40,128}+)"},
    {"", false, SECRET_SHAPE, BEFORE "[MNO][\\w-]{22,27}\\.[\\w-]{6}\\.[\\w-]{27,40}" AFTER},
    {":AA", false, SECRET_SHAPE, "(?<=\\d{8}):(AA[\\w-]{33})" AFTER},
    /* Stripe, Square, Shopify. */
    {"sk_live_ sk_test_ rk_live_ rk_test_", false, SECRET_SHAPE,
     BEFORE "[sr]k_(?:live|test)_[A-Za-z0-9]{16,255}+"},
    {"whsec_", false, SECRET_SHAPE, BEFORE "whsec_[A-Za-z0-9+/=]{24,128}+"},
    {"sq0csp- sq0atp-", false, SECRET_SHAPE, BEFORE "sq0(?:csp|atp)-[\\w-]{22,64}+"},
    {"shpat_ shpss_ shppa_ shpca_", false, SECRET_SHAPE, BEFORE "shp(?:at|ss|pa|ca)_[a-fA-F0-9]{32}"},
    /* Google. */
    {"AIza", false, SECRET_SHAPE, BEFORE "AIza[\\w-]{35}" AFTER},
    {"ya29.", false, SECRET_SHAPE, BEFORE "ya29\\.[\\w-]{20,512}+"},
    {"GOCSPX-", false, SECRET_SHAPE, BEFORE "GOCSPX-[\\w-]{20,64}+"},
    /* Those who sell models, and who hold them. */
    {"sk-", false, SECRET_RANDOM, BEFORE "sk-[\\w-]{20,255}+"},
    {"hf_", false, SECRET_RANDOM, BEFORE "hf_[A-Za-z0-9]{30,64}+"},
    {"gsk_", false, SECRET_RANDOM, BEFORE "gsk_[A-Za-z0-9]{40,64}+"},
    /* Registries of packages and images. */
    {"npm_", false, SECRET_RANDOM, BEFORE "npm_[A-Za-z0-9]{36}" AFTER},
    {"pypi-", false, SECRET_RANDOM, BEFORE "pypi-[\\w-]{50,512}+"},
    {"dckr_pat_", false, SECRET_SHAPE, BEFORE "dckr_pat_[\\w-]{20,64}+"},
    {"_authToken", false, SECRET_NO_EXAMPLE, "_authToken\\s*+=\\s*+\"?([^\\s\"$]{8,512}+)"},
    /* Mail, telephone. */
    {"SG.", false, SECRET_SHAPE, BEFORE "SG\\.[\\w-]{16,32}\\.[\\w-]{16,64}+"},
    {"key-", false, SECRET_SHAPE, BEFORE "key-[0-9a-f]{32}" AFTER},
    {"SK0 SK1 SK2 SK3 SK4 SK5 SK6 SK7 SK8 SK9 SKa SKb SKc SKd SKe SKf", false, SECRET_SHAPE,
     BEFORE "SK[0-9a-f]{32}" AFTER},
    /* Clouds and what runs there. */
    {"dop_v1_ doo_v1_ dor_v1_", false, SECRET_SHAPE, BEFORE "do[por]_v1_[a-f0-9]{64}"},
    {"dapi", false, SECRET_SHAPE, BEFORE "dapi[a-f0-9]{32}" AFTER},
    {"hvs. hvb. hvr.", false, SECRET_RANDOM, BEFORE "hv[sbr]\\.[\\w-]{20,255}+"},
    {"glsa_", false, SECRET_SHAPE, BEFORE "glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}"},
    {"lin_api_", false, SECRET_SHAPE, BEFORE "lin_api_[A-Za-z0-9]{32,64}+"},
    {"ATATT3", false, SECRET_SHAPE, BEFORE "ATATT3[\\w=-]{50,255}+"},
    {"AccountKey= SharedAccessKey=", false, SECRET_SHAPE, "Key=([A-Za-z0-9+/]{40,128}+={0,2})"},
    {"AGE-SECRET-KEY-", false, SECRET_SHAPE, "AGE-SECRET-KEY-1[A-Z0-9]{50,64}+"},
    /* JSON web tokens (RFC 7519): three parts, the first two JSON in base64. */
    {"eyJ", false, SECRET_SHAPE, BEFORE "eyJ[\\w-]{10,}+\\.eyJ[\\w-]{10,}+\\.[\\w-]{10,}+"},
    /* HTTP (RFC 7235): Authorization: Bearer, Basic. */
    {"authorization", true, SECRET_NO_EXAMPLE,
     "authorization[\"'`]?\\]?\\s*+[:=,]?\\s*+[fb]?[\"'`]?(?:bearer|basic|token)\\s++([\\w.~+/"
     "=-]{12,4096}+)"},
    {"bearer", true, SECRET_RANDOM, "(?<![a-z0-9_])bearer\\s++([\\w.~+/=-]{20,4096}+)"},
    /* URLs (RFC 3986, 3.2.1): scheme://user:password@host. */
    {"://", false, SECRET_NO_EXAMPLE,
     "(?<=[a-z0-9+]):\\/\\/[^\\s/:@\"'`<>\\\\()]{0,128}+:([^\\s/@\"'`<>\\\\]{3,256}+)@[^\\s@\"'`]"},
    /* Private keys: the lines between BEGIN and END, or up to where the text ends. */
    {"-----BEGIN", false, SECRET_SHAPE,
     "-----BEGIN [A-Z0-9 ]*+(?:(?<=PRIVATE KEY)|(?<=PRIVATE KEY BLOCK))-----" KEY_GAP
     "([A-Za-z0-9+/]{40,}+={0,2}(?:" KEY_GAP "[A-Za-z0-9+/=]{30,}+)*+(?:" KEY_GAP
     "[A-Za-z0-9+/=]{1,80}+(?=" KEY_GAP "(?:-----|\\z)))*+|[A-Za-z0-9+/]{8,39}+\\z)"},
    {"password passwd passphrase pwd secret token api_key api-key apikey access_key access-key accesskey "
     "private_key private-key privatekey auth_key auth-key authkey encryption_key encryptionkey "
     "signing_key "
     "signingkey account_key master_key masterkey credential",
     true, SECRET_ASSIGNED, ASSIGNED},
};
const int32_t secret_rules_n = sizeof secret_rules / sizeof *secret_rules;
