/* SPDX-License-Identifier: MIT */
/* Tests of lib/base: the version and the words for the error codes. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <plait.h>

#include "support/cmocka.h"

static const int codes[] = {
    0,       ETIMEDOUT, EPIPE,  ECANCELED, EOWNERDEAD, ENOTRECOVERABLE, EPERM,  EDEADLK, EOVERFLOW,
    EINVAL,  ENOMEM,    ENOSPC, EBUSY,     EBADMSG,    ENOSYS,          ENOENT, EEXIST,
    EMSGSIZE, EAGAIN,
};
#define CODE_COUNT (sizeof(codes) / sizeof(codes[0]))

static void version_matches_the_headers_and_the_package(void **state)
{
    char expected[32];
    snprintf(expected, sizeof(expected), "%d.%d.%d", PLAIT_VERSION_MAJOR, PLAIT_VERSION_MINOR,
             PLAIT_VERSION_PATCH);
    assert_string_equal(plait_version(), expected);
    assert_string_equal(plait_version(), PACKAGE_VERSION);
}

static void strerror_of_each_code_has_words_of_its_own(void **state)
{
    for (size_t i = 0; i < CODE_COUNT; i++) {
        assert_true(strlen(plait_strerror(codes[i])) > 0);
        assert_string_not_equal(plait_strerror(codes[i]), plait_strerror(-1));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(plait_strerror(codes[i]), plait_strerror(codes[j]));
    }
}

static void strerror_of_a_foreign_number_is_one_phrase(void **state)
{
    static const int foreign[] = { -1, INT_MIN, INT_MAX, -ETIMEDOUT, ENOTTY };
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        assert_ptr_equal(plait_strerror(foreign[i]), plait_strerror(100000));
    assert_non_null(plait_strerror(100000));
}

static void strerror_leaves_errno_alone(void **state)
{
    errno = ENOTTY;
    plait_strerror(ETIMEDOUT);
    plait_strerror(-1);
    assert_int_equal(errno, ENOTTY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_matches_the_headers_and_the_package),
        cmocka_unit_test(strerror_of_each_code_has_words_of_its_own),
        cmocka_unit_test(strerror_of_a_foreign_number_is_one_phrase),
        cmocka_unit_test(strerror_leaves_errno_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
