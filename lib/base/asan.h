/* SPDX-License-Identifier: MIT */
/* Telling AddressSanitizer of a way out of functions that it cannot see; nothing in other builds. */
#ifndef PLAIT_BASE_ASAN_H
#define PLAIT_BASE_ASAN_H

#if defined(__SANITIZE_ADDRESS__)
#define PLAIT__UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PLAIT__UNDER_ASAN 1
#endif
#endif

#ifdef PLAIT__UNDER_ASAN
void __asan_handle_no_return(void);
#endif

/* The frames of this thread may be left without their own epilogues from now on. */
static inline void plait__leaving_frames(void)
{
#ifdef PLAIT__UNDER_ASAN
    __asan_handle_no_return();
#endif
}

#endif
