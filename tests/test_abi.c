/* SPDX-License-Identifier: MIT */
/* Tests of the library as a stranger meets it: linked dynamically, found by symbol. */
#include <dlfcn.h>

#include <plait.h>

#include "support/cmocka.h"

static void symbol_public_is_found_by_name(void **state)
{
    assert_non_null(dlsym(RTLD_DEFAULT, "plait_version"));
    assert_non_null(dlsym(RTLD_DEFAULT, "plait_strerror"));
    assert_string_equal(plait_version(), PACKAGE_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symbol_public_is_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
