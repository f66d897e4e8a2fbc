/* Loading libcurl at run time. */
#include "net/curl_api.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

/* Where each function's pointer goes in struct curl_api. */
static const struct {
    const char *symbol;
    size_t offset;
} functions[] = {
#define FUNCTION(name)                                                                                       \
    {                                                                                                        \
        "curl_" #name, offsetof(struct curl_api, name)                                                       \
    }
    FUNCTION(global_init),  FUNCTION(easy_init),      FUNCTION(easy_setopt),   FUNCTION(easy_perform),
    FUNCTION(easy_getinfo), FUNCTION(easy_cleanup),   FUNCTION(easy_strerror), FUNCTION(url),
    FUNCTION(url_set),      FUNCTION(url_get),        FUNCTION(url_cleanup),   FUNCTION(free),
    FUNCTION(slist_append), FUNCTION(slist_free_all),
#undef FUNCTION
};

enum err curl_api_load(struct curl_api *out, struct errmsg *msg)
{
    /* The same interface under the names that distributions give it, by TLS library. */
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.so"};
    void *library = NULL;
    for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++) {
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    }
    if (!library) {
        return err_set(msg, ERR_UNSUPPORTED,
                       "libcurl is not installed: install libcurl4 (Debian, Ubuntu) or libcurl (others)");
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *function = dlsym(library, functions[i].symbol);
        if (!function) {
            dlclose(library);
            return err_set(msg, ERR_UNSUPPORTED,
                           "this libcurl is too old: it has no %s; version 7.62 or newer is needed",
                           functions[i].symbol);
        }
        /* ISO C has no conversion from object to function pointer; POSIX promises that the bytes agree. */
        memcpy((char *)out + functions[i].offset, &function, sizeof function);
    }
    if (out->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return err_set(msg, ERR_UNSUPPORTED, "libcurl cannot be initialised; check its installation");
    }
    return OK;
}
