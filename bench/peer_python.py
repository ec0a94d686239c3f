# SPDX-License-Identifier: MIT
# Python's own: peer_python.py WHAT OPERATIONS WIDTH prints the seconds that an operation took.
import concurrent.futures
import multiprocessing as mp
import sys
import time


def produce(queue, gate, items):
    gate.wait()
    for i in range(1, items + 1):
        queue.put(i)


def consume(queue, gate, items, spans):
    gate.wait()
    start = time.monotonic()
    total = sum(queue.get() for _ in range(items))
    spans.put((start, time.monotonic(), total))


def queue(operations, width):
    """Items through a multiprocessing.Queue, from `width` processes to as many."""
    items = operations // width
    between, spans, gate = mp.Queue(), mp.SimpleQueue(), mp.Barrier(2 * width)
    team = [mp.Process(target=produce, args=(between, gate, items)) for _ in range(width)]
    team += [mp.Process(target=consume, args=(between, gate, items, spans)) for _ in range(width)]
    for process in team:
        process.start()
    results = [spans.get() for _ in range(width)]
    for process in team:
        process.join()
    assert sum(r[2] for r in results) == items * (items + 1) // 2 * width
    return (max(r[1] for r in results) - min(r[0] for r in results)) / (items * width)


def nothing(_=None):
    pass


def timed(operations, call):
    start = time.monotonic()
    call()
    return (time.monotonic() - start) / operations


def each(operations, call):
    for _ in range(operations):
        call()


def executor(operations, width):
    def call():
        with concurrent.futures.ThreadPoolExecutor(width) as pool:
            each(operations, lambda: pool.submit(nothing))
    return timed(operations, call)


def executor_apply(operations, width):
    with concurrent.futures.ThreadPoolExecutor(width) as pool:
        return timed(operations, lambda: each(operations, lambda: pool.submit(nothing).result()))


def pool_apply(operations, width):
    with mp.Pool(width) as pool:
        pool.apply(nothing)
        return timed(operations, lambda: each(operations, lambda: pool.apply(nothing)))


def pool_async(operations, width):
    with mp.Pool(width) as pool:
        pool.apply(nothing)
        return timed(operations, lambda: [r.get() for r in [pool.apply_async(nothing) for _ in range(operations)]])


def pool_map(operations, width):
    with mp.Pool(width) as pool:
        pool.apply(nothing)
        return timed(operations, lambda: pool.map(nothing, range(operations)))


mp.set_start_method("fork")
print(globals()[sys.argv[1].replace("-", "_")](int(sys.argv[2]), int(sys.argv[3])))
