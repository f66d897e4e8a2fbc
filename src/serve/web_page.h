/* The dashboard as it is served: one HTML file made of what is in web/. Its definition is generated when the
 * project is built (cmake/web.cmake). */
#ifndef SERVE_WEB_PAGE_H
#define SERVE_WEB_PAGE_H

#include <stddef.h>

extern const unsigned char web_page[];
extern const size_t web_page_len;
/* Its Content-Security-Policy: nothing but the scripts and styles in it, by their hashes. */
extern const char web_page_policy[];

#endif
