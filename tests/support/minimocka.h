/* SPDX-License-Identifier: MIT */
/* The part of cmocka that our tests use, for a libc that has no cmocka (musl-gcc). */
#ifndef TESTS_SUPPORT_MINIMOCKA_H
#define TESTS_SUPPORT_MINIMOCKA_H

/*
 * Same names, same meaning, same lines in the log as cmocka 1.1. A failed assertion jumps back to
 * the runner; on another thread than the test's own it ends the program, as cmocka does. Left out:
 * mocks, expectations, allocation checks, other output formats.
 *
 * State is weak, so that the files of one test program share it without a .c of its own.
 */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func;
    CMFixtureFunction teardown_func;
    void *initial_state;
};

enum mini_outcome { MINI_PASSED, MINI_FAILED, MINI_SKIPPED };

struct mini_run {
    jmp_buf back;       /* to the runner; valid while `running` */
    pthread_t thread;   /* the test's own thread */
    bool running;       /* inside a test or a fixture */
};

__attribute__((__weak__)) struct mini_run mini_run;

#define cmocka_unit_test(f)                           { #f, f, NULL, NULL, NULL }
#define cmocka_unit_test_setup(f, setup)              { #f, f, setup, NULL, NULL }
#define cmocka_unit_test_teardown(f, teardown)        { #f, f, NULL, teardown, NULL }
#define cmocka_unit_test_setup_teardown(f, up, down)  { #f, f, up, down, NULL }
#define cmocka_unit_test_prestate(f, state)           { #f, f, NULL, NULL, state }
#define cmocka_unit_test_prestate_setup_teardown(f, up, down, state) { #f, f, up, down, state }
#define cmocka_run_group_tests(tests, setup, teardown) \
    mini_run_group(#tests, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown) \
    mini_run_group(name, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)

__attribute__((__unused__, __format__(__printf__, 1, 2)))
static void print_message(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
}

__attribute__((__unused__, __format__(__printf__, 1, 2)))
static void print_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
}

__attribute__((__unused__, __noreturn__))
static void mini_leave(enum mini_outcome outcome)
{
    fflush(stdout);
    if (!mini_run.running || !pthread_equal(mini_run.thread, pthread_self()))
        abort();
    longjmp(mini_run.back, (int)outcome);
}

__attribute__((__unused__, __noreturn__, __format__(__printf__, 3, 4)))
static void mini_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n[   LINE   ] --- %s:%d: error: Failure!\n", file, line);
    mini_leave(MINI_FAILED);
}

/* Run a fixture or a test under the jump point. A fixture that returns non-zero has failed. */
__attribute__((__unused__))
static enum mini_outcome mini_call(CMUnitTestFunction test, CMFixtureFunction fixture, void **state)
{
    volatile enum mini_outcome outcome = MINI_PASSED;
    mini_run.thread = pthread_self();
    mini_run.running = true;
    int jumped = setjmp(mini_run.back);
    if (jumped != 0)
        outcome = (enum mini_outcome)jumped;
    else if (test)
        test(state);
    else if (fixture && fixture(state) != 0)
        outcome = MINI_FAILED;
    mini_run.running = false;
    return outcome;
}

__attribute__((__unused__))
static enum mini_outcome mini_run_one(const struct CMUnitTest *test, void *group_state)
{
    void *state = test->initial_state ? test->initial_state : group_state;
    enum mini_outcome outcome = mini_call(NULL, test->setup_func, &state);
    if (outcome == MINI_PASSED)
        outcome = mini_call(test->test_func, NULL, &state);
    if (mini_call(NULL, test->teardown_func, &state) != MINI_PASSED)
        outcome = MINI_FAILED;
    return outcome;
}

__attribute__((__unused__))
static int mini_run_group(const char *name, const struct CMUnitTest *tests, size_t count,
                          CMFixtureFunction setup, CMFixtureFunction teardown)
{
    static const char *const mark[] = { "       OK ", "  FAILED  ", "  SKIPPED " };
    size_t tally[3] = { 0, 0, 0 };
    void *state = NULL;

    print_message("[==========] Running %zu test(s).\n", count);
    bool usable = mini_call(NULL, setup, &state) == MINI_PASSED;
    for (size_t i = 0; i < count; i++) {
        if (!tests[i].test_func) /* the unused rest of an array */
            continue;
        print_message("[ RUN      ] %s\n", tests[i].name);
        enum mini_outcome outcome = usable ? mini_run_one(&tests[i], state) : MINI_FAILED;
        tally[outcome]++;
        print_message("[%s] %s\n", mark[outcome], tests[i].name);
    }
    if (mini_call(NULL, teardown, &state) != MINI_PASSED) {
        print_message("[  ERROR   ] %s: the group's teardown failed\n", name);
        tally[MINI_FAILED]++;
    }
    print_message("[==========] %zu test(s) run.\n", count);
    print_message("[  PASSED  ] %zu test(s).\n", tally[MINI_PASSED]);
    if (tally[MINI_SKIPPED] > 0)
        print_message("[  SKIPPED ] %zu test(s), listed above.\n", tally[MINI_SKIPPED]);
    if (tally[MINI_FAILED] > 0)
        print_message("[  FAILED  ] %zu test(s), listed above.\n", tally[MINI_FAILED]);
    return (int)tally[MINI_FAILED];
}

#define skip() mini_leave(MINI_SKIPPED)
#define fail() mini_fail(__FILE__, __LINE__, "ERROR: fail()")
#define fail_msg(...) \
    (print_error("ERROR: "), print_error(__VA_ARGS__), mini_fail(__FILE__, __LINE__, "%s", ""))

#define assert_true(c) \
    ((c) ? (void)0 : mini_fail(__FILE__, __LINE__, "%s is not true", #c))
#define assert_false(c) \
    ((c) ? mini_fail(__FILE__, __LINE__, "%s is not false", #c) : (void)0)
#define assert_null(p) \
    mini_assert_pointers((p), NULL, true, __FILE__, __LINE__)
#define assert_non_null(p) \
    mini_assert_pointers((p), NULL, false, __FILE__, __LINE__)
#define assert_ptr_equal(a, b) \
    mini_assert_pointers((a), (b), true, __FILE__, __LINE__)
#define assert_ptr_not_equal(a, b) \
    mini_assert_pointers((a), (b), false, __FILE__, __LINE__)
#define assert_int_equal(a, b) \
    mini_assert_numbers((uintmax_t)(a), (uintmax_t)(b), true, __FILE__, __LINE__)
#define assert_int_not_equal(a, b) \
    mini_assert_numbers((uintmax_t)(a), (uintmax_t)(b), false, __FILE__, __LINE__)
#define assert_string_equal(a, b) \
    mini_assert_strings((a), (b), true, __FILE__, __LINE__)
#define assert_string_not_equal(a, b) \
    mini_assert_strings((a), (b), false, __FILE__, __LINE__)
#define assert_memory_equal(a, b, size) \
    mini_assert_memory((a), (b), (size), true, __FILE__, __LINE__)
#define assert_memory_not_equal(a, b, size) \
    mini_assert_memory((a), (b), (size), false, __FILE__, __LINE__)
#define assert_in_range(v, low, high) \
    mini_assert_range((uintmax_t)(v), (uintmax_t)(low), (uintmax_t)(high), true, __FILE__, __LINE__)
#define assert_not_in_range(v, low, high) \
    mini_assert_range((uintmax_t)(v), (uintmax_t)(low), (uintmax_t)(high), false, __FILE__, __LINE__)
#define assert_return_code(rc, error) \
    mini_assert_return_code((intmax_t)(rc), (error), #rc, __FILE__, __LINE__)

__attribute__((__unused__))
static void mini_assert_numbers(uintmax_t a, uintmax_t b, bool equal, const char *file, int line)
{
    if ((a == b) != equal)
        mini_fail(file, line, "%#" PRIxMAX " %s %#" PRIxMAX, a, equal ? "!=" : "==", b);
}

__attribute__((__unused__))
static void mini_assert_pointers(const void *a, const void *b, bool equal, const char *file,
                                 int line)
{
    if ((a == b) != equal)
        mini_fail(file, line, "%p %s %p", a, equal ? "!=" : "==", b);
}

__attribute__((__unused__))
static void mini_assert_strings(const char *a, const char *b, bool equal, const char *file,
                                int line)
{
    if ((strcmp(a, b) == 0) != equal)
        mini_fail(file, line, "\"%s\" %s \"%s\"", a, equal ? "!=" : "==", b);
}

__attribute__((__unused__))
static void mini_assert_memory(const void *a, const void *b, size_t size, bool equal,
                               const char *file, int line)
{
    if ((memcmp(a, b, size) == 0) != equal)
        mini_fail(file, line, "%zu bytes %s", size, equal ? "differ" : "are equal");
}

__attribute__((__unused__))
static void mini_assert_range(uintmax_t v, uintmax_t low, uintmax_t high, bool inside,
                              const char *file, int line)
{
    if ((low <= v && v <= high) != inside)
        mini_fail(file, line, "%ju is %s %ju to %ju", v, inside ? "outside" : "inside", low, high);
}

__attribute__((__unused__))
static void mini_assert_return_code(intmax_t rc, int error, const char *text, const char *file,
                                    int line)
{
    if (rc < 0)
        mini_fail(file, line, "%s < 0, error %d: %s", text, error, strerror(error));
}

#endif
