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

/* Many transfers on one thread, which other threads can wake: needs a newer library (7.68, of 2020). */
struct curl_multi_api {
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_setopt)(CURLM *multi, CURLMoption option, ...);
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *handle);
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *handle);
    CURLMcode (*multi_perform)(CURLM *multi, int *n_running);
    CURLMcode (*multi_poll)(CURLM *multi, struct curl_waitfd extra[], unsigned n_extra, int timeout_ms,
                            int *n_ready);
    CURLMcode (*multi_wakeup)(CURLM *multi);
    CURLMsg *(*multi_info_read)(CURLM *multi, int *n_left);
    CURLMcode (*multi_cleanup)(CURLM *multi);
    CURLSH *(*share_init)(void);
    CURLSHcode (*share_setopt)(CURLSH *share, CURLSHoption option, ...);
    CURLSHcode (*share_cleanup)(CURLSH *share);
};

/* Load the library, for the rest of the process's life. ERR_UNSUPPORTED says what to install. */
MUST_CHECK enum err curl_api_load(struct curl_api *out, struct errmsg *msg);
/* The rest of it, after curl_api_load. */
MUST_CHECK enum err curl_multi_api_load(struct curl_multi_api *out, struct errmsg *msg);

#endif
