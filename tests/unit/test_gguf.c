/* GGUF files: what a good one says, and that every kind of bad one is refused with a message, not a crash.
 *
 * Images are copied to a block of exactly their size before they are opened, so that the address sanitizer
 * sees every byte read past the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/gguf.h"
#include "os/file.h"
#include "support/gguf_writer.h"

#define IMAGE_MAX ((size_t)1 << 20)

struct image {
    unsigned char *bytes; /* owned; exactly len bytes */
    size_t len;
};

/* The file that w describes; empties w. */
static struct image finish(struct gguf_writer *w)
{
    struct buf out;
    buf_init(&out, IMAGE_MAX);
    gguf_writer_finish(w, &out);
    assert_int_equal(out.err, OK);
    struct image image = {.bytes = malloc(out.len), .len = out.len};
    memcpy(image.bytes, out.data, out.len);
    buf_clear(&out);
    gguf_writer_clear(w);
    return image;
}

/* Opening the file that w describes must fail with this code and with `text` in the message. */
static void expect_refused(struct gguf_writer *w, enum err code, const char *text)
{
    struct errmsg msg = {{0}};
    struct image image = finish(w);
    struct gguf *g = (struct gguf *)&image; /* must be overwritten */
    enum err err = gguf_open_bytes(image.bytes, image.len, &g, &msg);
    if (err != code || !strstr(msg.text, text)) {
        fail_msg("expected \"%s\" with \"%s\", got \"%s\" with \"%s\"", err_text(code), text, err_text(err),
                 msg.text);
    }
    assert_null(g);
    assert_int_equal(gguf_open_bytes(image.bytes, image.len, &g, NULL), code); /* a null message is allowed */
    free(image.bytes);
}

static const uint64_t dims_4x2[] = {4, 2};
static const float data_4x2[] = {1, 2, 3, 4, 5, 6, 7, 8};

/* A file with every value type, two tensors and an empty array. */
static void write_sample(struct gguf_writer *w)
{
    static const char *const words[] = {"alpha", "", "\xc3\xa9t\xc3\xa9"};
    static const int16_t shorts[] = {-1, 2, -32768};
    static const float floats[] = {0.5f, -2};
    static const uint64_t dims_32[] = {32};
    unsigned char q8_0[34] = {0, 60};
    gguf_writer_init(w);
    gguf_writer_int(w, "u8", GGUF_U8, 200);
    gguf_writer_int(w, "i8", GGUF_I8, -100);
    gguf_writer_int(w, "u16", GGUF_U16, 60000);
    gguf_writer_int(w, "i16", GGUF_I16, -30000);
    gguf_writer_int(w, "u32", GGUF_U32, 4000000000);
    gguf_writer_int(w, "i32", GGUF_I32, -2000000000);
    gguf_writer_int(w, "u64", GGUF_U64, INT64_MAX);
    gguf_writer_int(w, "u64.max", GGUF_U64, -1);
    gguf_writer_int(w, "i64", GGUF_I64, INT64_MIN);
    gguf_writer_float(w, "f32", GGUF_F32, 0.25);
    gguf_writer_float(w, "f64", GGUF_F64, 1e300);
    gguf_writer_float(w, "nan", GGUF_F32, 0.0 / 0.0);
    gguf_writer_int(w, "yes", GGUF_BOOL, 1);
    gguf_writer_int(w, "no", GGUF_BOOL, 0);
    gguf_writer_int(w, "maybe", GGUF_BOOL, 2);
    gguf_writer_str(w, "str", "hello");
    gguf_writer_str(w, "str.empty", "");
    gguf_writer_strs(w, "words", words, 3);
    gguf_writer_array(w, "shorts", GGUF_I16, 3, shorts, sizeof shorts);
    gguf_writer_array(w, "floats", GGUF_F32, 2, floats, sizeof floats);
    gguf_writer_array(w, "none", GGUF_STRING, 0, NULL, 0);
    gguf_writer_tensor(w, "a.weight", KERN_F32, 2, dims_4x2, data_4x2, sizeof data_4x2);
    gguf_writer_tensor(w, "b.weight", KERN_Q8_0, 1, dims_32, q8_0, sizeof q8_0);
}

/* The sample, opened for one test. */
struct fixture {
    struct image image;
    struct gguf *g;
};

static int open_sample(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct gguf_writer w;
    struct errmsg msg;
    write_sample(&w);
    f->image = finish(&w);
    assert_int_equal(gguf_open_bytes(f->image.bytes, f->image.len, &f->g, &msg), OK);
    *state = f;
    return 0;
}

static int close_sample(void **state)
{
    struct fixture *f = *state;
    gguf_close(&f->g);
    assert_null(f->g);
    gguf_close(&f->g); /* closing twice is harmless */
    free(f->image.bytes);
    free(f);
    return 0;
}

static void test_ints(void **state)
{
    static const struct {
        const char *key;
        int64_t value;
    } expected[] = {
        {"u8", 200},         {"i8", -100},         {"u16", 60000},     {"i16", -30000},
        {"u32", 4000000000}, {"i32", -2000000000}, {"u64", INT64_MAX}, {"i64", INT64_MIN},
    };
    const struct gguf *g = ((struct fixture *)*state)->g;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        int64_t value = 0;
        assert_int_equal(gguf_get_int(g, expected[i].key, INT64_MIN, INT64_MAX, &value, NULL), OK);
        assert_true(value == expected[i].value);
    }
}

static void test_int_range(void **state)
{
    const struct gguf *g = ((struct fixture *)*state)->g;
    struct errmsg msg;
    int64_t value = 7;
    assert_int_equal(gguf_get_int(g, "u8", 200, 200, &value, NULL), OK);
    value = 7;
    assert_int_equal(gguf_get_int(g, "u8", 0, 199, &value, &msg), ERR_FORMAT);
    assert_string_equal(msg.text, "key u8: 200 is outside 0 to 199");
    assert_int_equal(gguf_get_int(g, "i8", -99, 0, &value, &msg), ERR_FORMAT);
    assert_int_equal(gguf_get_int(g, "u64.max", 0, INT64_MAX - 1, &value, &msg), ERR_FORMAT);
    assert_int_equal(value, 7);
}

static void test_floats(void **state)
{
    const struct gguf *g = ((struct fixture *)*state)->g;
    struct errmsg msg;
    double value = 7;
    assert_int_equal(gguf_get_float(g, "f32", &value, NULL), OK);
    assert_true(value == 0.25);
    assert_int_equal(gguf_get_float(g, "f64", &value, NULL), OK);
    assert_true(value == 1e300);
    value = 7;
    assert_int_equal(gguf_get_float(g, "nan", &value, &msg), ERR_FORMAT);
    assert_string_equal(msg.text, "key nan: not a finite number");
    assert_int_equal(gguf_get_float(g, "u32", &value, &msg), ERR_FORMAT);
    assert_string_equal(msg.text, "key u32: is a uint32, not a float");
    assert_true(value == 7);
}

static void test_bools(void **state)
{
    const struct gguf *g = ((struct fixture *)*state)->g;
    struct errmsg msg;
    bool value = false;
    assert_int_equal(gguf_get_bool(g, "yes", &value, NULL), OK);
    assert_true(value);
    assert_int_equal(gguf_get_bool(g, "no", &value, NULL), OK);
    assert_false(value);
    assert_int_equal(gguf_get_bool(g, "maybe", &value, &msg), ERR_FORMAT);
    assert_int_equal(gguf_get_bool(g, "u8", &value, &msg), ERR_FORMAT);
    assert_string_equal(msg.text, "key u8: is a uint8, not a bool");
}

static void test_strings(void **state)
{
    const struct gguf *g = ((struct fixture *)*state)->g;
    struct errmsg msg;
    struct gguf_str str;
    assert_int_equal(gguf_get_str(g, "str", &str, NULL), OK);
    assert_int_equal(str.len, 5);
    assert_memory_equal(str.data, "hello", 5);
    assert_int_equal(gguf_get_str(g, "str.empty", &str, NULL), OK);
    assert_int_equal(str.len, 0);
    assert_int_equal(gguf_get_str(g, "words", &str, &msg), ERR_FORMAT);
    assert_string_equal(msg.text, "key words: is an array of string, not a string");
    assert_int_equal(gguf_get_str(g, "i8", &str, &msg), ERR_FORMAT);
}

static void test_missing(void **state)
{
    const struct gguf *g = ((struct fixture *)*state)->g;
    struct errmsg msg;
    struct gguf_array array;
    struct gguf_str str;
    int64_t integer;
    double number;
    bool flag;
    assert_int_equal(gguf_get_int(g, "gone", 0, 1, &integer, &msg), ERR_NOT_FOUND);
    assert_string_equal(msg.text, "key gone: missing from the file");
    assert_int_equal(gguf_get_float(g, "gone", &number, NULL), ERR_NOT_FOUND);
    assert_int_equal(gguf_get_bool(g, "gone", &flag, NULL), ERR_NOT_FOUND);
    assert_int_equal(gguf_get_str(g, "gone", &str, NULL), ERR_NOT_FOUND);
    assert_int_equal(gguf_get_array(g, "gone", GGUF_U8, &array, NULL), ERR_NOT_FOUND);
    assert_int_equal(gguf_get_str(g, "st", &str, NULL), ERR_NOT_FOUND);
    assert_int_equal(gguf_get_int(g, "str", 0, 1, &integer, &msg), ERR_FORMAT);
    assert_string_equal(msg.text, "key str: is a string, not an integer");
    assert_null(gguf_find_tensor(g, "a.weigh"));
    assert_null(gguf_find_tensor(g, ""));
}

static void test_string_array(void **state)
{
    const struct gguf *g = ((struct fixture *)*state)->g;
    struct gguf_array array;
    assert_int_equal(gguf_get_array(g, "words", GGUF_STRING, &array, NULL), OK);
    assert_int_equal(array.n, 3);
    assert_int_equal(array.type, GGUF_STRING);
    const unsigned char *pos = array.data;
    struct gguf_str str = gguf_next_str(&array, &pos);
    assert_int_equal(str.len, 5);
    assert_memory_equal(str.data, "alpha", 5);
    assert_int_equal(gguf_next_str(&array, &pos).len, 0);
    str = gguf_next_str(&array, &pos);
    assert_int_equal(str.len, 5);
    assert_memory_equal(str.data, "\xc3\xa9t\xc3\xa9", 5);
    assert_int_equal(gguf_get_array(g, "none", GGUF_STRING, &array, NULL), OK);
    assert_int_equal(array.n, 0);
}

/* Somebody writes to the file while it is mapped: whatever its lengths are then, views stay inside. */
static void test_overwritten(void **state)
{
    (void)state;
    static const unsigned char patterns[] = {0xff, 0x00, 0x7f, 0x05};
    struct gguf_writer w;
    struct gguf *g = NULL;
    write_sample(&w);
    struct image image = finish(&w);
    const char *end = (const char *)image.bytes + image.len;
    assert_int_equal(gguf_open_bytes(image.bytes, image.len, &g, NULL), OK);
    for (size_t p = 0; p < sizeof patterns; p++) {
        struct gguf_array words = {0};
        struct gguf_str str = {0};
        bool flag = false;
        int32_t i = 0;
        /* Keys are looked up while they stand there; then all bytes change. */
        unsigned char *before = malloc(image.len);
        memcpy(before, image.bytes, image.len);
        assert_int_equal(gguf_get_array(g, "words", GGUF_STRING, &words, NULL), OK);
        memset(image.bytes, patterns[p], image.len);
        const unsigned char *pos = words.data;
        for (uint64_t n = 0; n < words.n; n++) {
            str = gguf_next_str(&words, &pos);
            assert_true(str.data >= (const char *)words.data &&
                        str.data + str.len <= (const char *)words.end);
            assert_true(pos >= words.data && pos <= words.end);
        }
        assert_int_equal(gguf_get_str(g, "str", &str, NULL), ERR_NOT_FOUND);
        assert_null(gguf_find_tensor(g, "a.weight"));
        for (; i < gguf_n_tensors(g); i++) {
            const struct gguf_tensor *t = gguf_tensor_at(g, i);
            assert_true((const char *)t->data + t->len <= end);
        }
        /* Only the keys are there again: values are any. */
        for (i = 0; i < gguf_n_keys(g); i++) {
            enum gguf_type type;
            struct gguf_str key = gguf_key_at(g, i, &type);
            memcpy((char *)(uintptr_t)key.data, before + (key.data - (const char *)image.bytes), key.len);
        }
        assert_int_equal(gguf_get_str(g, "str", &str, NULL), OK);
        assert_true(str.data + str.len <= end);
        enum err err = gguf_get_bool(g, "yes", &flag, NULL);
        assert_true(err == OK || err == ERR_FORMAT);
        memcpy(image.bytes, before, image.len);
        free(before);
    }
    gguf_close(&g);
    free(image.bytes);
}

static void test_number_arrays(void **state)
{
    const struct gguf *g = ((struct fixture *)*state)->g;
    struct gguf_array array;
    struct errmsg msg;
    assert_int_equal(gguf_get_array(g, "shorts", GGUF_I16, &array, NULL), OK);
    assert_int_equal(array.n, 3);
    assert_int_equal(gguf_array_int(&array, 0), -1);
    assert_int_equal(gguf_array_int(&array, 1), 2);
    assert_int_equal(gguf_array_int(&array, 2), -32768);
    assert_true(gguf_array_float(&array, 2) == -32768.0);
    assert_int_equal(gguf_get_array(g, "floats", GGUF_F32, &array, NULL), OK);
    assert_true(gguf_array_float(&array, 0) == 0.5);
    assert_true(gguf_array_float(&array, 1) == -2.0);
    assert_int_equal(gguf_get_array(g, "floats", GGUF_F64, &array, &msg), ERR_FORMAT);
    assert_string_equal(msg.text, "key floats: is an array of float32, not an array of float64");
    assert_int_equal(gguf_get_array(g, "u8", GGUF_U8, &array, &msg), ERR_FORMAT);
    assert_string_equal(msg.text, "key u8: is a uint8, not an array of uint8");
}

static void test_tensors(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(gguf_n_tensors(f->g), 2);
    const struct gguf_tensor *a = gguf_find_tensor(f->g, "a.weight");
    const struct gguf_tensor *b = gguf_find_tensor(f->g, "b.weight");
    assert_ptr_equal(a, gguf_tensor_at(f->g, 0));
    assert_ptr_equal(b, gguf_tensor_at(f->g, 1));
    assert_int_equal(a->type, KERN_F32);
    assert_int_equal(a->n_dims, 2);
    assert_int_equal(a->dims[0], 4);
    assert_int_equal(a->dims[1], 2);
    assert_int_equal(a->dims[2], 1);
    assert_int_equal(a->dims[3], 1);
    assert_int_equal(a->len, sizeof data_4x2);
    assert_memory_equal(a->data, data_4x2, sizeof data_4x2);
    assert_int_equal(b->type, KERN_Q8_0);
    assert_int_equal(b->len, 34);
    assert_ptr_equal((const unsigned char *)b->data + b->len, f->image.bytes + f->image.len);
}

static void test_keys_in_order(void **state)
{
    const struct gguf *g = ((struct fixture *)*state)->g;
    enum gguf_type type;
    assert_int_equal(gguf_n_keys(g), 21);
    assert_int_equal(gguf_version(g), 3);
    struct gguf_str key = gguf_key_at(g, 0, &type);
    assert_int_equal(key.len, 2);
    assert_memory_equal(key.data, "u8", 2);
    assert_int_equal(type, GGUF_U8);
    key = gguf_key_at(g, 17, &type);
    assert_memory_equal(key.data, "words", key.len);
    assert_int_equal(type, GGUF_ARRAY);
}

static void test_version_2(void **state)
{
    struct gguf_writer w;
    struct gguf *g;
    (void)state;
    write_sample(&w);
    w.version = 2;
    struct image image = finish(&w);
    assert_int_equal(gguf_open_bytes(image.bytes, image.len, &g, NULL), OK);
    assert_int_equal(gguf_version(g), 2);
    assert_int_equal(gguf_n_tensors(g), 2);
    gguf_close(&g);
    free(image.bytes);
}

static void test_open_path(void **state)
{
    char path[] = "/tmp/inline-test-gguf-XXXXXX";
    struct gguf_writer w;
    struct gguf *g;
    struct errmsg msg;
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gguf_open(path, &g, &msg), ERR_FORMAT);
    assert_null(g);
    assert_non_null(strstr(msg.text, path));
    assert_non_null(strstr(msg.text, "the file is empty"));

    write_sample(&w);
    struct image image = finish(&w);
    assert_int_equal(file_write(path, image.bytes, image.len, NULL), OK);
    assert_int_equal(gguf_open(path, &g, &msg), OK);
    unlink(path); /* the map keeps the bytes */
    assert_int_equal(gguf_map(g)->len, image.len);
    assert_memory_equal(gguf_find_tensor(g, "a.weight")->data, data_4x2, sizeof data_4x2);
    gguf_close(&g);
    free(image.bytes);
    assert_int_equal(gguf_open(path, &g, &msg), ERR_NOT_FOUND);
}

/* Every shorter file lacks at least the last tensor's end, so none may open. */
static void test_cut_off_anywhere(void **state)
{
    struct gguf_writer w;
    struct errmsg msg;
    struct gguf *g;
    (void)state;
    write_sample(&w);
    struct image whole = finish(&w);
    for (size_t len = 0; len < whole.len; len++) {
        unsigned char *bytes = malloc(len ? len : 1);
        memcpy(bytes, whole.bytes, len);
        msg.text[0] = '\0';
        assert_int_equal(gguf_open_bytes(bytes, len, &g, &msg), ERR_FORMAT);
        assert_null(g);
        assert_true(msg.text[0] != '\0');
        free(bytes);
    }
    free(whole.bytes);
}

/* Any single byte may be wrong: the file opens or is refused, and what opens can be read. */
static void test_any_byte_changed(void **state)
{
    static const unsigned char masks[] = {0x01, 0x80, 0xff};
    struct gguf_writer w;
    (void)state;
    write_sample(&w);
    struct image image = finish(&w);
    int n_refused = 0;
    for (size_t i = 0; i < image.len * sizeof masks; i++) {
        unsigned char *byte = &image.bytes[i / sizeof masks];
        struct gguf *g;
        *byte ^= masks[i % sizeof masks];
        enum err err = gguf_open_bytes(image.bytes, image.len, &g, NULL);
        n_refused += err != OK;
        for (int32_t t = 0; !err && t < gguf_n_tensors(g); t++) {
            const struct gguf_tensor *tensor = gguf_tensor_at(g, t);
            assert_true((const unsigned char *)tensor->data >= image.bytes);
            assert_true((const unsigned char *)tensor->data + tensor->len <= image.bytes + image.len);
        }
        gguf_close(&g);
        *byte ^= masks[i % sizeof masks];
    }
    assert_true(n_refused > 0);
    free(image.bytes);
}

static void test_other_files(void **state)
{
    static const struct {
        const char *start;
        const char *hint;
    } files[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"},
        {"PK\003\004 and more", "zip archive"},
        {"<!DOCTYPE html><html>", "web page"},
        {"FUGG and more", "big-endian"},
        {"tjgg and more", "before GGUF"},
        {"\x20\x01 _____{\"__metadata__\":{}}", "safetensors"},
        {"GGU", "not a GGUF file"},
        {"hello world", "not a GGUF file"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct errmsg msg;
        struct gguf *g;
        size_t len = strlen(files[i].start);
        char *exact = malloc(len);
        memcpy(exact, files[i].start, len);
        assert_int_equal(gguf_open_bytes(exact, len, &g, &msg), ERR_FORMAT);
        if (!strstr(msg.text, files[i].hint)) fail_msg("no \"%s\" in \"%s\"", files[i].hint, msg.text);
        free(exact);
    }
}

static void test_versions_refused(void **state)
{
    static const uint32_t versions[] = {0, 1, 4, 0xffffffff};
    struct gguf_writer w;
    (void)state;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        write_sample(&w);
        w.version = versions[i];
        expect_refused(&w, ERR_UNSUPPORTED, "is not supported");
    }
    write_sample(&w);
    w.version = 3u << 24;
    expect_refused(&w, ERR_UNSUPPORTED, "big-endian");
}

static void test_huge_counts(void **state)
{
    static const uint64_t counts[] = {1000, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX};
    struct gguf_writer w;
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        write_sample(&w);
        w.n_tensors = counts[i];
        expect_refused(&w, ERR_FORMAT, "tensors, more than the file can hold");
        write_sample(&w);
        w.n_keys = counts[i];
        expect_refused(&w, ERR_FORMAT, "keys, more than the file can hold");

        static const enum gguf_type types[] = {GGUF_U8, GGUF_U64, GGUF_STRING};
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            write_sample(&w);
            gguf_writer_array(&w, "huge", types[t], counts[i], "", 0);
            expect_refused(&w, ERR_FORMAT, "key huge: its array of");
        }

        write_sample(&w);
        w.n_keys++;
        gguf_writer_add_name(&w.keys, "long");
        gguf_writer_add_u32(&w.keys, GGUF_STRING);
        gguf_writer_add_u64(&w.keys, counts[i]);
        expect_refused(&w, ERR_FORMAT, "in key long");

        write_sample(&w);
        w.n_keys++;
        gguf_writer_add_u64(&w.keys, counts[i]); /* length of the key's name */
        expect_refused(&w, ERR_FORMAT, "in the name of key 21");
    }
}

static void test_bad_keys(void **state)
{
    struct gguf_writer w;
    (void)state;
    write_sample(&w);
    gguf_writer_str(&w, "u16", "again");
    expect_refused(&w, ERR_FORMAT, "key u16: occurs twice");

    write_sample(&w);
    gguf_writer_array(&w, "nested", GGUF_ARRAY, 1, "", 1);
    expect_refused(&w, ERR_UNSUPPORTED, "key nested: arrays of arrays");

    write_sample(&w);
    w.n_keys++;
    gguf_writer_add_name(&w.keys, "odd");
    gguf_writer_add_u32(&w.keys, GGUF_TYPE_END);
    gguf_writer_add_u64(&w.keys, 0);
    expect_refused(&w, ERR_FORMAT, "key odd: unknown value type 13");

    write_sample(&w);
    gguf_writer_array(&w, "odds", GGUF_TYPE_END, 0, "", 0);
    expect_refused(&w, ERR_FORMAT, "key odds: unknown value type 13");

    static char long_key[70000];
    memset(long_key, 'k', sizeof long_key - 1);
    write_sample(&w);
    gguf_writer_int(&w, long_key, GGUF_U8, 1);
    expect_refused(&w, ERR_FORMAT, "the name of key 21 has 69999 bytes");
}

static void test_alignment(void **state)
{
    static const int64_t refused[] = {0, 1, 4, 48, 131072, UINT32_MAX};
    static const int64_t accepted[] = {8, 64, 4096};
    struct gguf_writer w;
    struct gguf *g;
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        write_sample(&w);
        gguf_writer_int(&w, "general.alignment", GGUF_U32, refused[i]);
        expect_refused(&w, ERR_FORMAT, "key general.alignment");
    }
    write_sample(&w);
    gguf_writer_str(&w, "general.alignment", "32");
    expect_refused(&w, ERR_FORMAT, "key general.alignment: is a string");

    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        gguf_writer_init(&w);
        w.alignment = (size_t)accepted[i];
        gguf_writer_int(&w, "general.alignment", GGUF_U32, accepted[i]);
        gguf_writer_tensor(&w, "a", KERN_F32, 2, dims_4x2, data_4x2, sizeof data_4x2);
        gguf_writer_tensor(&w, "b", KERN_F32, 2, dims_4x2, data_4x2, sizeof data_4x2);
        struct image image = finish(&w);
        assert_int_equal(gguf_open_bytes(image.bytes, image.len, &g, NULL), OK);
        assert_memory_equal(gguf_find_tensor(g, "b")->data, data_4x2, sizeof data_4x2);
        gguf_close(&g);
        free(image.bytes);
    }
}

static void test_bad_names(void **state)
{
    struct gguf_writer w;
    char name[129];
    (void)state;
    memset(name, 'n', sizeof name);
    name[128] = '\0';
    write_sample(&w);
    gguf_writer_tensor(&w, name, KERN_F32, 2, dims_4x2, data_4x2, sizeof data_4x2);
    expect_refused(&w, ERR_FORMAT, "the name of tensor 2 has 128 bytes");

    write_sample(&w);
    gguf_writer_tensor(&w, "", KERN_F32, 2, dims_4x2, data_4x2, sizeof data_4x2);
    expect_refused(&w, ERR_FORMAT, "the name of tensor 2 has 0 bytes");

    write_sample(&w);
    gguf_writer_tensor(&w, "a.weight", KERN_F32, 2, dims_4x2, data_4x2, sizeof data_4x2);
    expect_refused(&w, ERR_FORMAT, "tensor a.weight: occurs twice");

    write_sample(&w);
    w.n_tensors++;
    gguf_writer_add_u64(&w.tensors, (uint64_t)1 << 63);
    buf_add(&w.tensors, name, 64);
    expect_refused(&w, ERR_FORMAT, "in the name of tensor 2");

    /* Bytes of a hostile name must not reach a terminal. */
    write_sample(&w);
    gguf_writer_describe(&w, "\033[2J\n", 16, 2, dims_4x2, 0);
    expect_refused(&w, ERR_UNSUPPORTED, "tensor ?[2J?: format");
}

static void test_bad_dims(void **state)
{
    static const struct {
        uint32_t type;
        uint32_t n_dims;
        uint64_t dims[5];
        const char *text;
    } cases[] = {
        {KERN_F32, 0, {0}, "0 dimensions"},
        {KERN_F32, 5, {1, 1, 1, 1, 1}, "5 dimensions"},
        {KERN_F32, 1, {0}, "dimension 0 is 0"},
        {KERN_F32, 3, {4, 2, 0}, "dimension 2 is 0"},
        {KERN_F32, 1, {(uint64_t)1 << 31}, "rows of 2147483648 values"},
        {KERN_F32, 1, {UINT64_MAX}, "dimension 0 is 18446744073709551615"},
        {KERN_F32, 2, {4, (uint64_t)1 << 31}, "more than 2147483647 rows"},
        {KERN_F32, 3, {4, 65536, 32768}, "more than 2147483647 rows"},
        {KERN_F32, 4, {4, (uint64_t)1 << 62, 2, 2}, "more than 2147483647 rows"},
        {KERN_F32, 4, {1, 1 << 30, (uint64_t)1 << 62, (uint64_t)1 << 62}, "more than 2147483647 rows"},
        {KERN_F32, 2, {INT32_MAX, INT32_MAX}, "leave the file"},
        {KERN_Q8_0, 2, {33, 1}, "not whole Q8_0 blocks of 32"},
        {KERN_Q8_0, 2, {16, 2}, "not whole Q8_0 blocks of 32"},
        {KERN_Q4_K, 1, {32}, "not whole Q4_K blocks of 256"},
    };
    struct gguf_writer w;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_sample(&w);
        gguf_writer_describe(&w, "bad", cases[i].type, cases[i].n_dims, cases[i].dims, 0);
        expect_refused(&w, ERR_FORMAT, cases[i].text);
    }
}

static void test_bad_formats(void **state)
{
    struct gguf_writer w;
    (void)state;
    write_sample(&w);
    gguf_writer_describe(&w, "blk.0.attn_q.weight", 16, 2, dims_4x2, 0);
    expect_refused(
        &w, ERR_UNSUPPORTED,
        "tensor blk.0.attn_q.weight: format IQ2_XXS (16) is not supported; use a Q4_K_M or Q8_0 file");
    write_sample(&w);
    gguf_writer_describe(&w, "t", 4000000000, 2, dims_4x2, 0);
    expect_refused(&w, ERR_UNSUPPORTED, "tensor t: format number 4000000000 is not supported");
    /* Formats that only we convert to mean nothing in a file. */
    static const uint64_t dims_32x2[] = {32, 2};
    write_sample(&w);
    gguf_writer_describe(&w, "t", KERN_MXFP8, 2, dims_32x2, 0);
    expect_refused(&w, ERR_UNSUPPORTED, "tensor t: format number 64 is not supported");
    assert_true(kern_type_info(KERN_MXFP8)->is_own);
}

static void test_bad_places(void **state)
{
    static const struct {
        uint64_t offset;
        const char *text;
    } cases[] = {
        {1, "offset 1 is not a multiple of 32"},
        {96 + 16, "offset 112 is not a multiple of 32"},
        {0, "overlaps tensor"},
        {32, "overlaps tensor"},
        {96, "leave the file"},
        {UINT64_MAX - 31, "leave the file"},
        {(uint64_t)1 << 63, "leave the file"},
    };
    struct gguf_writer w;
    (void)state;
    /* The sample's data: 32 bytes at 0, 34 bytes at 32. */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_sample(&w);
        gguf_writer_describe(&w, "c.weight", KERN_F32, 2, dims_4x2, cases[i].offset);
        expect_refused(&w, ERR_FORMAT, cases[i].text);
    }
    /* Described in another order than they lie: still an overlap, still named. */
    write_sample(&w);
    gguf_writer_tensor(&w, "c.weight", KERN_F32, 2, dims_4x2, data_4x2, sizeof data_4x2);
    gguf_writer_describe(&w, "d.weight", KERN_F32, 2, dims_4x2, 0);
    expect_refused(&w, ERR_FORMAT, "overlaps tensor");
}

static void test_no_tensors(void **state)
{
    struct gguf_writer w;
    struct gguf *g;
    (void)state;
    gguf_writer_init(&w);
    w.alignment = 1; /* no padding: the file ends with its header */
    struct image image = finish(&w);
    assert_int_equal(image.len, 24);
    assert_int_equal(gguf_open_bytes(image.bytes, image.len, &g, NULL), OK);
    assert_int_equal(gguf_n_tensors(g), 0);
    assert_int_equal(gguf_n_keys(g), 0);
    assert_null(gguf_find_tensor(g, "a"));
    gguf_close(&g);
    free(image.bytes);
}

static void test_many_names(void **state)
{
    static const uint64_t one[] = {1};
    struct gguf_writer w;
    struct gguf *g;
    char name[32];
    float value = 1;
    (void)state;
    gguf_writer_init(&w);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "blk.%d", i);
        gguf_writer_tensor(&w, name, KERN_F32, 1, one, &value, sizeof value);
    }
    struct image image = finish(&w);
    assert_int_equal(gguf_open_bytes(image.bytes, image.len, &g, NULL), OK);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "blk.%d", i);
        assert_ptr_equal(gguf_find_tensor(g, name), gguf_tensor_at(g, i));
    }
    assert_null(gguf_find_tensor(g, "blk.3000"));
    gguf_close(&g);
    free(image.bytes);
}

#define WITH_SAMPLE(test) cmocka_unit_test_setup_teardown(test, open_sample, close_sample)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SAMPLE(test_ints),
        WITH_SAMPLE(test_int_range),
        WITH_SAMPLE(test_floats),
        WITH_SAMPLE(test_bools),
        WITH_SAMPLE(test_strings),
        WITH_SAMPLE(test_missing),
        WITH_SAMPLE(test_string_array),
        WITH_SAMPLE(test_number_arrays),
        WITH_SAMPLE(test_tensors),
        WITH_SAMPLE(test_keys_in_order),
        cmocka_unit_test(test_overwritten),
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_open_path),
        cmocka_unit_test(test_cut_off_anywhere),
        cmocka_unit_test(test_any_byte_changed),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_versions_refused),
        cmocka_unit_test(test_huge_counts),
        cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_bad_dims),
        cmocka_unit_test(test_bad_formats),
        cmocka_unit_test(test_bad_places),
        cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_many_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
