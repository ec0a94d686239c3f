# SPDX-License-Identifier: MIT
# Python's own: peer_python.py WHAT OPERATIONS WIDTH prints the seconds that an operation took.
import concurrent.futures
import multiprocessing as mp
import queue as queues
import sys
import threading
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


def consume_and_finish(queue, gate, items, spans):
    gate.wait()
    start = time.monotonic()
    total = 0
    for _ in range(items):
        total += queue.get()
        queue.task_done()
    spans.put((start, time.monotonic(), total))


def flow(operations, width, between, spans, gate, member, consumer):
    """Items through a queue, from `width` members to as many."""
    items = operations // width
    team = [member(target=produce, args=(between, gate, items)) for _ in range(width)]
    team += [member(target=consumer, args=(between, gate, items, spans)) for _ in range(width)]
    for process in team:
        process.start()
    results = [spans.get() for _ in range(width)]
    for process in team:
        process.join()
    assert sum(r[2] for r in results) == items * (items + 1) // 2 * width
    return (max(r[1] for r in results) - min(r[0] for r in results)) / (items * width)


def queue(operations, width):
    return flow(operations, width, mp.Queue(), mp.SimpleQueue(), mp.Barrier(2 * width), mp.Process, consume)


def joinable_queue(operations, width):
    return flow(operations, width, mp.JoinableQueue(), mp.SimpleQueue(), mp.Barrier(2 * width), mp.Process,
                consume_and_finish)


def queue_of_threads(operations, width):
    return flow(operations, width, queues.Queue(1024), queues.SimpleQueue(), threading.Barrier(2 * width),
                threading.Thread, consume_and_finish)


def share(shared, operations, width, work):
    """`width` processes work on an object that they share, each by itself timed."""
    spans, gate, lock = mp.SimpleQueue(), mp.Barrier(width), mp.Lock()

    def run():
        work(shared, lock, 1)  # connects
        gate.wait()
        start = time.monotonic()
        work(shared, lock, operations // width)
        spans.put((start, time.monotonic()))

    team = [mp.Process(target=run) for _ in range(width)]
    for process in team:
        process.start()
    results = [spans.get() for _ in range(width)]
    for process in team:
        process.join()
    return (max(r[1] for r in results) - min(r[0] for r in results)) / (operations // width * width)


def manager_dict(operations, width, work):
    with mp.Manager() as manager:
        return share(manager.dict({1: 1}), operations, width, work)


def manager_dict_set(operations, width):
    def work(shared, lock, count):
        for i in range(count):
            shared[i] = i
    return manager_dict(operations, width, work)


def manager_dict_get(operations, width):
    def work(shared, lock, count):
        for _ in range(count):
            shared[1]
    return manager_dict(operations, width, work)


def manager_dict_add(operations, width):
    def work(shared, lock, count):
        for _ in range(count):
            with lock:
                shared[1] += 1
    return manager_dict(operations, width, work)


def manager_list_append(operations, width):
    def work(shared, lock, count):
        for i in range(count):
            shared.append(i)
    with mp.Manager() as manager:
        return share(manager.list(range(1000)), operations, width, work)


def manager_list_get(operations, width):
    def work(shared, lock, count):
        for i in range(count):
            shared[i % 1000]
    with mp.Manager() as manager:
        return share(manager.list(range(1000)), operations, width, work)


def value_add(operations, width):
    def work(shared, lock, count):
        for _ in range(count):
            with shared.get_lock():
                shared.value += 1
    return share(mp.Value("q"), operations, width, work)


def array_get(operations, width):
    def work(shared, lock, count):
        for i in range(count):
            shared[i % 100]
    return share(mp.Array("q", 100), operations, width, work)


def array_set(operations, width):
    def work(shared, lock, count):
        for i in range(count):
            shared[i % 100] = i
    return share(mp.Array("q", 100), operations, width, work)


def array_slice(operations, width):
    def work(shared, lock, count):
        for _ in range(count):
            shared[:]
    return share(mp.Array("q", 100), operations, width, work)


def echo(end, operations):
    for _ in range(operations):
        end.send_bytes(end.recv_bytes())


def swallow(end, operations):
    for _ in range(operations):
        end.recv_bytes()
    end.send_bytes(b"all")


def pipe(operations, size, turns, beside):
    """Messages of so many bytes to the other end of a multiprocessing.Pipe, each answered or only the last."""
    here, there = mp.Pipe()
    data = bytes(size)
    other = beside(target=echo if turns else swallow, args=(there, operations))
    other.start()
    start = time.monotonic()
    for _ in range(operations):
        here.send_bytes(data)
        if turns:
            here.recv_bytes()
    if not turns:
        here.recv_bytes()
    end = time.monotonic()
    other.join()
    return (end - start) / operations


def pipe_turns_threads(operations, size):
    return pipe(operations, size, True, threading.Thread)


def pipe_turns_processes(operations, size):
    return pipe(operations, size, True, mp.Process)


def pipe_stream_threads(operations, size):
    return pipe(operations, size, False, threading.Thread)


def pipe_stream_processes(operations, size):
    return pipe(operations, size, False, mp.Process)


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


def one_more(x):
    return x + 1


def imap(operations, width, name, chunk):
    with mp.Pool(width) as pool:
        pool.apply(nothing)
        return timed(operations, lambda: sum(getattr(pool, name)(one_more, range(operations), chunk)))


def pool_imap(operations, width):
    return imap(operations, width, "imap", 1)


def pool_imap_chunks(operations, width):
    return imap(operations, width, "imap", 1000)


def pool_imap_unordered(operations, width):
    return imap(operations, width, "imap_unordered", 1)


def timer(operations, width):
    def start_and_cancel():
        for _ in range(operations):
            timer = threading.Timer(3600, nothing)
            timer.start()
            timer.cancel()
            timer.join()
    return timed(operations, start_and_cancel)


mp.set_start_method("fork")
print(globals()[sys.argv[1].replace("-", "_")](int(sys.argv[2]), int(sys.argv[3])))
