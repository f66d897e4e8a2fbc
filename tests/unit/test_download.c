/* model/sha256.c against the standard's vectors; what of model/download.c needs no server. (Downloads
 * themselves: tests/front/test_pull.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/download.h"
#include "model/sha256.h"
#include "os/file.h"

static void assert_hash(const void *bytes, size_t len, const char *expected)
{
    char hex[SHA256_HEX];
    struct sha256 h;
    sha256_init(&h);
    sha256_add(&h, bytes, len);
    sha256_finish(&h, hex);
    assert_string_equal(hex, expected);
}

/* FIPS 180-2, appendix B, and the empty message of the NIST test suite. */
static void test_standard_vectors(void **state)
{
    (void)state;
    assert_hash("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_hash("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    assert_hash(two_blocks, strlen(two_blocks),
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    size_t million = 1000000;
    char *a = mem_try(million, 1);
    assert_non_null(a);
    memset(a, 'a', million);
    assert_hash(a, million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    mem_free(a);
}

/* The result does not depend on how the message is cut, at every length around the block's. */
static void test_pieces(void **state)
{
    (void)state;
    unsigned char message[200];
    for (size_t i = 0; i < sizeof message; i++) message[i] = (unsigned char)(i * 7);
    for (size_t len = 0; len <= sizeof message; len++) {
        char whole[SHA256_HEX], pieces[SHA256_HEX];
        struct sha256 h;
        sha256_init(&h);
        sha256_add(&h, message, len);
        sha256_finish(&h, whole);
        sha256_init(&h);
        for (size_t at = 0; at < len;) {
            size_t n = (at * 13) % 70 + 1;
            if (n > len - at) n = len - at;
            sha256_add(&h, message + at, n);
            at += n;
        }
        sha256_finish(&h, pieces);
        assert_string_equal(whole, pieces);
    }
}

static void test_refused_urls(void **state)
{
    (void)state;
    static const char *const urls[] = {"http://example.invalid/a.gguf", "file:///etc/passwd",
                                       "ftp://127.0.0.1/a", "", "not a url"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct errmsg msg = {0};
        struct download_result result;
        struct download_request request = {.url = urls[i], .path = "/nonexistent/a.gguf"};
        assert_int_equal(download_run(&request, &result, &msg), ERR_ARG);
        assert_true(msg.text[0] != '\0');
    }
}

/* Nothing arrived, nothing is left; but what an earlier run left stays. */
static void test_cancelled_before_it_begins(void **state)
{
    (void)state;
    char directory[] = "/tmp/inline-test-XXXXXX", path[64], part[80], info[80];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/a.gguf", directory);
    snprintf(part, sizeof part, "%s.part", path);
    snprintf(info, sizeof info, "%s.part.info", path);
    atomic_bool cancel = true;
    struct errmsg msg = {0};
    struct download_result result;
    struct download_request request = {.url = "http://127.0.0.1:1/a.gguf", .path = path, .cancel = &cancel};
    assert_int_equal(download_run(&request, &result, &msg), ERR_CANCELLED);
    assert_int_equal(file_size(part), -1);

    assert_int_equal(file_write(part, "GGUF", 4, NULL), OK);
    assert_int_equal(file_write(info, "u\nv\n9\n", 6, NULL), OK);
    assert_int_equal(download_run(&request, &result, &msg), ERR_CANCELLED);
    assert_int_equal(file_size(part), 4);
    download_forget(path);
    assert_int_equal(rmdir(directory), 0); /* it was the last */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standard_vectors),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_refused_urls),
        cmocka_unit_test(test_cancelled_before_it_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
