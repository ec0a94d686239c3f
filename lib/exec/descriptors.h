/* SPDX-License-Identifier: MIT */
/* Descriptors: sent with messages over a socket, and closed in bulk. */
#ifndef PLAIT_EXEC_DESCRIPTORS_H
#define PLAIT_EXEC_DESCRIPTORS_H

#include <stddef.h>
#include <sys/types.h>

enum { PLAIT__SEND_MAX = 253 /* the kernel's limit for one message */ };

/* Send one message with up to PLAIT__SEND_MAX descriptors. 0, or an errno; EPIPE: the other side is gone. */
int plait__send(int socket, const void *message, size_t size, const int *fds, size_t fd_count);

/*
 * Receive one message of exactly `size` bytes, waiting for it. fds[0..*fd_count_out) receives its descriptors,
 * close-on-exec; those for which this process has no room are missing. 0, or an errno; EPIPE: the other side is
 * gone; EBADMSG: a message of another length.
 */
int plait__receive(int socket, void *message, size_t size, int fds[PLAIT__SEND_MAX], size_t *fd_count_out);

/* Close all from `first` on, but for those listed in keep[0..keep_count). */
void plait__close_from(int first, const int *keep, size_t keep_count);

void plait__close_all(const int *fds, size_t count);

/* Move a descriptor to the lowest free number from `least` on; it keeps its flags. -1: errno says why. */
int plait__move_from(int fd, int least);

/* Write all of it, whatever interrupts. 0, or an errno. */
int plait__write_all(int fd, const void *bytes, size_t size);

/* pidfd_open and pidfd_send_signal, which older headers do not know. -1 and errno. */
int plait__pidfd_open(pid_t pid);
int plait__pidfd_send_signal(int pidfd, int signal);

#endif
