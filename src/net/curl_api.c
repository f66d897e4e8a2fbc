/* Loading libcurl at run time. */
#include "net/curl_api.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

/* Where a function's pointer goes in a table of them. */
struct function {
    const char *symbol;
    size_t offset;
};

#define FUNCTION(table, name)                                                                                \
    {                                                                                                        \
        "curl_" #name, offsetof(struct table, name)                                                          \
    }

static const struct function functions[] = {
    FUNCTION(curl_api, global_init),   FUNCTION(curl_api, easy_init),
    FUNCTION(curl_api, easy_setopt),   FUNCTION(curl_api, easy_perform),
    FUNCTION(curl_api, easy_getinfo),  FUNCTION(curl_api, easy_cleanup),
    FUNCTION(curl_api, easy_strerror), FUNCTION(curl_api, url),
    FUNCTION(curl_api, url_set),       FUNCTION(curl_api, url_get),
    FUNCTION(curl_api, url_cleanup),   FUNCTION(curl_api, free),
    FUNCTION(curl_api, slist_append),  FUNCTION(curl_api, slist_free_all),
};

static const struct function multi_functions[] = {
    FUNCTION(curl_multi_api, multi_init),       FUNCTION(curl_multi_api, multi_setopt),
    FUNCTION(curl_multi_api, multi_add_handle), FUNCTION(curl_multi_api, multi_remove_handle),
    FUNCTION(curl_multi_api, multi_perform),    FUNCTION(curl_multi_api, multi_poll),
    FUNCTION(curl_multi_api, multi_wakeup),     FUNCTION(curl_multi_api, multi_info_read),
    FUNCTION(curl_multi_api, multi_cleanup),    FUNCTION(curl_multi_api, share_init),
    FUNCTION(curl_multi_api, share_setopt),     FUNCTION(curl_multi_api, share_cleanup),
};

#undef FUNCTION

#define N_OF(array) (sizeof(array) / sizeof *(array))

static enum err open_library(void **out, struct errmsg *msg)
{
    /* The same interface under the names that distributions give it, by TLS library. */
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.so"};
    *out = NULL;
    for (size_t i = 0; !*out && i < N_OF(names); i++) *out = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (*out) return OK;
    return err_set(msg, ERR_UNSUPPORTED,
                   "libcurl is not installed: install libcurl4 (Debian, Ubuntu) or libcurl (others)");
}

/* Fill a table of pointers; the library stays open unless it lacks one of them. */
static enum err load(const struct function *list, size_t n, const char *version, void *table,
                     struct errmsg *msg)
{
    void *library;
    enum err err = open_library(&library, msg);
    for (size_t i = 0; !err && i < n; i++) {
        void *function = dlsym(library, list[i].symbol);
        /* ISO C has no conversion from object to function pointer; POSIX promises that the bytes agree. */
        memcpy((char *)table + list[i].offset, &function, sizeof function);
        if (function) continue;
        dlclose(library);
        err = err_set(msg, ERR_UNSUPPORTED, "this libcurl is too old: it has no %s; %s or newer is needed",
                      list[i].symbol, version);
    }
    return err;
}

enum err curl_api_load(struct curl_api *out, struct errmsg *msg)
{
    enum err err = load(functions, N_OF(functions), "version 7.62", out, msg);
    if (!err && out->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        err = err_set(msg, ERR_UNSUPPORTED, "libcurl cannot be initialised; check its installation");
    return err;
}

enum err curl_multi_api_load(struct curl_multi_api *out, struct errmsg *msg)
{
    return load(multi_functions, N_OF(multi_functions), "version 7.68", out, msg);
}
