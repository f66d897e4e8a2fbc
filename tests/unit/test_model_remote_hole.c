/* cli/model_remote_hole.c: what is told of a server by its answers to known holes. (Asking: tests/front.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/model_remote_hole.h"

static void assert_judged(int hole, int variant, const char *raw, enum hole_verdict expected)
{
    const char *mark;
    enum hole_verdict found = hole_judge(hole_at(hole, variant), raw, &mark);
    if (found != expected) fail_msg("\"%s\" is judged %d instead of %d", raw, (int)found, (int)expected);
    if (found == HOLE_MARKS) assert_non_null(mark);
}

/* Variants differ behind the gap only, and their words tell them apart. */
static void test_holes(void **state)
{
    (void)state;
    for (int i = 0; i < HOLES; i++) {
        const struct hole *a = hole_at(i, 0), *b = hole_at(i, 1);
        assert_string_equal(a->before, b->before);
        assert_string_not_equal(a->after, b->after);
        assert_non_null(strstr(a->after, a->word));
        assert_non_null(strstr(b->after, b->word));
        assert_null(strstr(a->after, b->word));
        assert_null(strstr(b->after, a->word));
        assert_null(strstr(a->before, a->word));
        assert_null(strstr(a->before, b->word));
    }
}

static void test_right(void **state)
{
    (void)state;
    assert_judged(0, 0, "sum", HOLE_RIGHT);
    assert_judged(0, 1, " amount", HOLE_RIGHT);
    assert_judged(0, 1, "\namount = 0;\n    int x", HOLE_RIGHT);
    assert_judged(0, 0, "sum<|endoftext|>", HOLE_RIGHT); /* the stop rules take that off */
    assert_judged(1, 0, "surface = width * height", HOLE_RIGHT);
    assert_judged(1, 1, "extent = width * height\n    return extent\n```", HOLE_RIGHT);
}

static void test_wrong(void **state)
{
    (void)state;
    assert_judged(0, 0, "", HOLE_EMPTY);
    assert_judged(0, 0, " \n\t", HOLE_EMPTY);
    assert_judged(0, 1, "sum = 0;", HOLE_OTHER);
    assert_judged(0, 0, "sums", HOLE_OTHER);
    assert_judged(0, 0, "checksum_sum_", HOLE_OTHER);
    assert_judged(0, 0, "total = 0;\n    sum", HOLE_OTHER); /* not in the gap's line */
    assert_judged(0, 0, "<|fim_prefix|>int", HOLE_MARKS);
    assert_judged(0, 0, "x = 0;\n<fim_middle>", HOLE_MARKS);
    assert_judged(0, 0, "Sure! Here is", HOLE_CHAT);
    assert_judged(0, 0, "  ```c\nint sum", HOLE_CHAT);
    assert_judged(0, 0, "int total(const int *values, int n)\n{", HOLE_CHAT);
    assert_judged(1, 0, "def area(width, height):\n", HOLE_CHAT);
    assert_judged(0, 0, "x = 0;\n```\n", HOLE_CHAT);
    assert_judged(1, 0, "I'll fill", HOLE_CHAT);
    assert_judged(1, 0, "i = width * height", HOLE_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_right),
        cmocka_unit_test(test_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
