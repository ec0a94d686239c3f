/* SPDX-License-Identifier: MIT */
/* Pools: the place for them; there is none yet. */
#include "bench.h"

const struct bench_metric bench_pools[] = {
    { 0 },
};
