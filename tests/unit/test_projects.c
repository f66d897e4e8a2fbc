/* Held folders: each once, for as long as somebody holds it, with what it is a checkout of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "service/projects.h"
#include "context/project.h"
#include "context/repository.h"

static void test_holding(void **state)
{
    (void)state;
    char root[] = "/tmp/inline-projects-XXXXXX", inner[64], file[96], command[96];
    assert_non_null(mkdtemp(root));
    snprintf(inner, sizeof inner, "%s/inner", root);
    snprintf(file, sizeof file, "%s/a.c", inner);
    snprintf(command, sizeof command, "mkdir %s", inner);
    assert_int_equal(system(command), 0);
    struct projects *p = projects_new(NULL);
    struct repository expected;
    const char *relative;

    assert_null(projects_find(p, root));
    assert_null(projects_repository(p, root, NULL));
    projects_rescan(p, root); /* nobody holds it */
    projects_hold(p, root);
    projects_hold(p, root);
    projects_hold(p, inner);
    repository_of(inner, &expected);
    assert_true(projects_repository(p, inner, NULL)->id == expected.id);
    assert_string_equal(projects_repository(p, inner, NULL)->name, "inner");
    assert_true(projects_repository(p, root, NULL)->id != expected.id);
    assert_ptr_equal(projects_of_file(p, file, &relative), projects_find(p, inner));
    assert_string_equal(relative, "a.c");
    assert_ptr_equal(projects_repository(p, NULL, file), projects_repository(p, inner, NULL));
    assert_null(projects_repository(p, NULL, "/nothing"));
    assert_null(projects_repository(p, NULL, NULL));
    projects_rescan(p, root);

    projects_drop(p, root);
    assert_non_null(projects_find(p, root));
    projects_drop(p, root);
    assert_null(projects_find(p, root));
    assert_null(projects_repository(p, root, NULL));
    assert_true(projects_repository(p, inner, NULL)->id == expected.id);
    projects_free(&p);
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

/* What cannot be indexed is held all the same. */
static void test_missing(void **state)
{
    (void)state;
    struct projects *p = projects_new(NULL);
    projects_hold(p, "/nothing/is/here");
    assert_null(projects_find(p, "/nothing/is/here"));
    assert_string_equal(projects_repository(p, "/nothing/is/here", NULL)->name, "here");
    projects_rescan(p, "/nothing/is/here");
    projects_drop(p, "/nothing/is/here");
    assert_null(projects_repository(p, "/nothing/is/here", NULL));
    projects_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holding),
        cmocka_unit_test(test_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
