/* UTF-8 decoding and encoding (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
#include "base/utf8.h"

/* Length that a lead byte announces; 0 if it can lead nothing. */
static size_t sequence_len(unsigned char lead)
{
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf) return 2;
    if (lead >= 0xe0 && lead <= 0xef) return 3;
    if (lead >= 0xf0 && lead <= 0xf4) return 4;
    return 0;
}

size_t utf8_decode(const char *s, size_t len, int32_t *code)
{
    static const int32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char lead = (unsigned char)s[0];
    size_t n = sequence_len(lead);
    *code = -1;
    if (n == 0 || n > len) return 1;
    if (n == 1) {
        *code = lead;
        return 1;
    }
    int32_t value = lead & (0x7f >> n);
    for (size_t i = 1; i < n; i++) {
        if (!utf8_is_continuation(s[i])) return 1;
        value = value << 6 | ((unsigned char)s[i] & 0x3f);
    }
    if (value < lowest[n] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return 1;
    *code = value;
    return n;
}

size_t utf8_encode(int32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((0xf00 >> n & 0xff) | code);
    return n;
}

size_t utf8_valid_len(const char *s, size_t len)
{
    size_t i = 0;
    while (i < len) {
        int32_t code;
        size_t n = utf8_decode(s + i, len - i, &code);
        if (code < 0) break;
        i += n;
    }
    return i;
}

size_t utf8_complete_len(const char *s, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        unsigned char c = (unsigned char)s[len - back];
        if (utf8_is_continuation((char)c)) continue;
        return sequence_len(c) > back ? len - back : len;
    }
    return len;
}
