/* SPDX-License-Identifier: MIT */
/* libuv: uv_queue_work, whose loop runs in the submitter. */
#include <stdlib.h>
#include <uv.h>

#include "bench.h"
#include "peers.h"

static void work(uv_work_t *request) { (void)request; }
static void after(uv_work_t *request, int status) { (void)request; }

double uv_tasks(const struct bench_load *load)
{
    uv_work_t *requests = calloc(load->ops, sizeof *requests);
    uv_loop_t loop;
    double start;

    if (!requests || uv_loop_init(&loop) != 0)
        bench_die("uv_loop_init");
    start = bench_now();
    for (uint64_t i = 0; i < load->ops; i++)
        uv_queue_work(&loop, &requests[i], work, after);
    uv_run(&loop, UV_RUN_DEFAULT);
    start = (bench_now() - start) / (double)load->ops;
    uv_loop_close(&loop);
    free(requests);
    return start;
}
