/* libcurl, loaded when first needed. Linking it would cost every start of the program the loading of some
 * 25 libraries (TLS, HTTP/2, LDAP ...), and it is rarely needed. */
#ifndef NET_CURL_API_H
#define NET_CURL_API_H

#include <curl/curl.h>

#include "base/err.h"

/* The functions in use, under libcurl's names without "curl_". */
struct curl_api {
    CURLcode (*global_init)(long flags);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *handle, CURLoption option, ...);
    CURLcode (*easy_perform)(CURL *handle);
    CURLcode (*easy_getinfo)(CURL *handle, CURLINFO info, ...);
    void (*easy_cleanup)(CURL *handle);
    const char *(*easy_strerror)(CURLcode code);
    CURLU *(*url)(void);
    CURLUcode (*url_set)(CURLU *url, CURLUPart part, const char *text, unsigned flags);
    CURLUcode (*url_get)(CURLU *url, CURLUPart part, char **text, unsigned flags);
    void (*url_cleanup)(CURLU *url);
    void (*free)(void *text);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
};

/* Load the library, for the rest of the process's life. ERR_UNSUPPORTED says what to install. */
MUST_CHECK enum err curl_api_load(struct curl_api *out, struct errmsg *msg);

#endif
