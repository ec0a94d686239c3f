# SPDX-License-Identifier: MIT
# Python's own: peer_python.py queue ITEMS WIDTH prints the seconds that an item took through multiprocessing.Queue.
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


def main():
    _, _, items, width = sys.argv
    width = int(width)
    items = int(items) // width
    mp.set_start_method("fork")
    queue, spans, gate = mp.Queue(), mp.SimpleQueue(), mp.Barrier(2 * width)
    team = [mp.Process(target=produce, args=(queue, gate, items)) for _ in range(width)]
    team += [mp.Process(target=consume, args=(queue, gate, items, spans)) for _ in range(width)]
    for process in team:
        process.start()
    results = [spans.get() for _ in range(width)]
    for process in team:
        process.join()
    assert sum(r[2] for r in results) == items * (items + 1) // 2 * width
    print((max(r[1] for r in results) - min(r[0] for r in results)) / (items * width))


main()
