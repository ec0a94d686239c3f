/* SPDX-License-Identifier: MIT */
/* What passes between the program, its nursery and a newborn process. */
#ifndef PLAIT_EXEC_NURSERY_WIRE_H
#define PLAIT_EXEC_NURSERY_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/module.h"
#include "exec/descriptors.h"
#include "exec/nursery.h"

/* The most processes that one nursery has at one time, ended ones with a handle included. */
#define PLAIT__RECORDS 32768u

/*
 * The life of one process. The program hands records out; FREE to STARTING is its step. The others are the
 * nursery's, except that the program calls LOST what a dead nursery left as running.
 *
 * E1 end: the nursery writes `status`, then releases ENDED; whoever waits acquires `state`, then reads it.
 */
enum plait__record_state { RECORD_FREE, RECORD_STARTING, RECORD_RUNNING, RECORD_ENDED, RECORD_LOST };

struct plait__record {
    uint32_t state;  /* atomic, waited on with PLAIT_SHARED: enum plait__record_state (E1) */
    int32_t pid;     /* nursery only, valid from RUNNING on */
    int32_t status;  /* as from waitpid; written before ENDED (E1) */
    uint32_t daemon; /* nursery only */
};

/* Memory that the program and the nursery share. */
struct plait__page {
    uint32_t ends;         /* atomic, waited on with PLAIT_SHARED: processes that have ended */
    uint32_t records_used; /* atomic: the records from here on were never used */
    struct plait__record records[PLAIT__RECORDS];
};

enum plait__request_kind { REQUEST_SPAWN = 1, REQUEST_SIGNAL = 2 };

/* The descriptors of a spawn request, in this order, those that are not there left out. */
enum plait__sent_fd { SENT_PAYLOAD, SENT_STDIN, SENT_STDOUT, SENT_STDERR, SENT_CWD, SENT_COUNT };

/* Behind them come those that are passed on, whose numbers the payload has. */
enum { SENT_MOST = SENT_COUNT + PLAIT_PROCESS_FDS_MAX };
_Static_assert((int)SENT_MOST <= (int)PLAIT__SEND_MAX, "all are sent with one message");

struct plait__request {
    uint32_t kind;
    uint32_t record;
    int32_t signal;
    uint32_t sent; /* bit 1 << enum plait__sent_fd for each descriptor that came along */
    uint8_t daemon;
    uint8_t ignores_interrupt;
    uint8_t is_program;
    uint8_t passed; /* how many descriptors are passed on */
    uint8_t is_watched; /* its failures are told */
    uint8_t is_afresh;
    uint8_t spare[6];
    int32_t program; /* who asks */
    uint64_t payload_size;
};

/* Its answer. With it: the pidfd if has_pidfd, then the pipe that tells of a failed exec if has_pipe. */
struct plait__reply {
    int32_t error;
    int32_t pid;
    uint8_t has_pidfd;
    uint8_t has_pipe;
    uint8_t spare[6];
};

/* The payload: this head, then what the offsets point to. Strings lie one after another, each with its zero. */
struct plait__payload {
    struct plait__function target;
    char name[16];
    uint64_t program_offset; /* one string */
    uint64_t argv_offset;
    uint64_t environ_offset;
    uint64_t arg_offset; /* aligned to 16 */
    uint64_t arg_size;
    uint32_t argv_count;
    uint32_t environ_count;
    uint64_t numbers_offset; /* int32_t: of the descriptors that are passed on */
};

/* Write the payload for `spawn` into a new memory file. 0, EINVAL (no such function), or an errno. */
int plait__payload_pack(const struct plait__spawn *spawn, int *fd_out, uint64_t *size_out);

/*
 * Ask the nursery, or a new one of its own, for a process. *failure_out: a pipe that tells of its failure and then ends, or -1. Errors as
 * plait__child_start.
 */
int plait__nursery_ask(bool from_now, struct plait__request *request, const int *fds, size_t fd_count,
                       struct plait__child *child_out, int *failure_out);

/* What is opened for one start. */
struct plait__outfit {
    int payload, cwd, null; /* -1: nothing */
};

/* Open it; to be closed, with an error as well. EBADF: a stream is not open; of the directory: open's own reasons; as payload_pack. */
int plait__outfit_open(const struct plait__spawn *spawn, struct plait__outfit *outfit, uint64_t *payload_size_out);
void plait__outfit_close(const struct plait__outfit *outfit);

/* All descriptors that are sent, in the order of enum plait__sent_fd, and those to be passed on; returns which there are of the former. A stream of the program's may be closed. */
uint32_t plait__outfit_gather(const struct plait__spawn *spawn, const struct plait__outfit *outfit, int fds[SENT_MOST],
                              size_t *count_out);

/*
 * Be the nursery. `tries_fork`: the program had threads, so see first whether a fork of this copy of it works. `is_single`: it is for one
 * process, and ends with it.
 */
_Noreturn void plait__nursery_main(struct plait__page *page, int socket, bool tries_fork, bool is_single);

/*
 * Be the newborn process: take over the descriptors and run. fds: by enum plait__sent_fd, -1 for those that are
 * missing; then those that are passed on. `failure_fd`, or -1, tells the program why exec failed, or a descriptor could not be passed on.
 */
_Noreturn void plait__newborn_main(const struct plait__request *request, int fds[SENT_MOST], int failure_fd, pid_t nursery);

/* If this is a new execution of the program for the sake of a target, run that. */
void plait__newborn_enter(void);

#endif
