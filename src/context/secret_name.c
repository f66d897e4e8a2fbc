/* Names of files that hold secrets, by the programs that write them. */
#include "context/secret_name.h"

#include <fnmatch.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define TAIL_MAX 512 /* of a path: the last parts are there */

/* Case does not count; patterns as secret_name_fits takes them. */
static const char *const secret[] = {
    ".env",
    ".env.*",
    "*.env",
    ".envrc",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.p8",
    "*.pk8",
    "*.jks",
    "*.keystore",
    "*.ppk",
    "*.kdbx",
    "*.asc",
    "*.ovpn",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    "ssh_host_*_key",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    ".htpasswd",
    ".npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".gem/credentials",
    ".cargo/credentials.toml",
    ".cargo/credentials",
    "credentials",
    "credentials.json",
    "credentials.csv",
    "secret.yml",
    "secret.yaml",
    "secret.json",
    "secrets.yml",
    "secrets.yaml",
    "secrets.json",
    "secrets.toml",
    "secrets.env",
    "secrets.properties",
    "secrets.tfvars",
    "*.tfstate",
    "*.tfstate.backup",
    "*.tfvars",
    "*.auto.tfvars.json",
    "kubeconfig",
    "*.kubeconfig",
    ".kube/config",
    "service-account*.json",
    "service_account*.json",
    "client_secret*.json",
    ".git-credentials",
    ".docker/config.json",
    ".dockercfg",
    ".aws/credentials",
    ".aws/config",
    ".azure/accesstokens.json",
    "application_default_credentials.json",
    ".vault-token",
    ".vault_pass*",
    "vault_pass.txt",
    "master.key",
    "shadow",
    "gshadow",
    ".terraformrc",
    "terraform.rc",
    ".s3cfg",
    ".boto",
    ".passwd",
    "passwords.txt",
    "passwords.csv",
    "wp-config.php",
    "token.json",
};
/* Examples of such files, without the secrets. */
static const char *const harmless[] = {
    "*.example", "*.sample",    "*.template", "*.dist",    "*.tmpl",       "example.env", "sample.env",
    "*.pub",     "*.example.*", "*.sample.*", "*.pub.pem", "*.public.pem", "*.cert.pem",
};

struct path {
    char text[TAIL_MAX];
    size_t len;
};

static void read_path(const char *path, struct path *out)
{
    size_t len = strlen(path), skip = len < TAIL_MAX ? 0 : len - TAIL_MAX + 1;
    out->len = len - skip;
    for (size_t i = 0; i <= out->len; i++) {
        char c = path[skip + i];
        out->text[i] = (char)(c == '\\' ? '/' : c);
    }
}

/* The last parts of a path, one more than there are slashes to be in it. */
static const char *tail_of(const struct path *p, size_t slashes)
{
    const char *at = p->text + p->len;
    for (; at > p->text; at--) {
        if (at[-1] == '/' && slashes-- == 0) break;
    }
    return at;
}

/* Most patterns are a name or an ending, which need no fnmatch: this is asked for each document and prompt.
 */
static bool fits(const struct path *p, const char *pattern)
{
    size_t len = 0, slashes = 0, n_special = 0;
    for (; pattern[len]; len++) {
        char c = pattern[len];
        slashes += c == '/';
        n_special += c == '*' || c == '?' || c == '[' || c == '\\';
    }
    const char *tail = tail_of(p, slashes);
    size_t tail_len = (size_t)(p->text + p->len - tail);
    if (n_special == 0) return tail_len == len && strcasecmp(tail, pattern) == 0;
    if (n_special == 1 && pattern[0] == '*') {
        return tail_len >= len - 1 && strcasecmp(tail + tail_len - (len - 1), pattern + 1) == 0;
    }
    return fnmatch(pattern, tail, FNM_CASEFOLD) == 0;
}

static bool fits_any(const struct path *p, const char *const *patterns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fits(p, patterns[i])) return true;
    }
    return false;
}

bool secret_name_fits(const char *path, const char *pattern)
{
    struct path p;
    read_path(path, &p);
    return fits(&p, pattern);
}

bool secret_name_is_known(const char *path)
{
    struct path p;
    read_path(path, &p);
    return fits_any(&p, secret, sizeof secret / sizeof *secret) &&
           !fits_any(&p, harmless, sizeof harmless / sizeof *harmless);
}
