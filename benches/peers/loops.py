"""The workloads on asyncio, uvloop and Tornado.

Called with the library, a workload, the operations of the warm-up and of the sample, and the workload's parameters.
"""

import asyncio
import importlib
import os
import resource
import socket
import sys
import threading
import time

REQUEST = 64
# Seconds, and requests.
TIMEOUT, PERIOD, POST, JOB = 10, 0.01, 0.001, 100
ENDLESS = 1 << 60


class Asyncio:
    """What the workloads need of a loop, as asyncio and uvloop have it."""

    def __init__(self, make):
        self.loop = make()
        self.call_soon = self.loop.call_soon
        self.post = self.loop.call_soon_threadsafe
        self.add_reader = self.loop.add_reader
        self.remove_reader = self.loop.remove_reader
        self.run = self.loop.run_forever
        self.stop = self.loop.stop

    def call_later(self, delay, callback):
        return self.loop.call_later(delay, callback)

    def cancel(self, timer):
        timer.cancel()

    def serve(self, connection, served):
        self.connect(connection, lambda: Echo(served))

    def connect(self, connection, protocol):
        self.loop.run_until_complete(self.loop.create_connection(protocol, sock=connection))

    def close(self):
        self.loop.close()


class Echo(asyncio.Protocol):
    def __init__(self, served):
        self.served = served

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)
        self.served()


class Served(asyncio.Protocol):
    """A connection with a time-out; one request in a hundred runs a job."""

    begun = 0

    def __init__(self, loop, served, job):
        self.loop, self.served, self.job = loop, served, job
        self.timeout = loop.call_later(TIMEOUT, self.idle)

    def idle(self):
        raise TimeoutError("an idle connection")

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.timeout.cancel()
        self.timeout = self.loop.call_later(TIMEOUT, self.idle)
        Served.begun += 1
        if Served.begun % JOB > 0:
            return self.answer(data)
        self.loop.run_in_executor(None, self.job).add_done_callback(lambda _: self.answer(data))

    def answer(self, data):
        self.transport.write(data)
        self.served()


class Tornado:
    """The same, as Tornado has it."""

    def __init__(self):
        from tornado import ioloop, iostream

        self.stream = iostream.IOStream
        self.loop = ioloop.IOLoop(make_current=True)
        self.call_soon = self.post = self.loop.add_callback
        self.remove_reader = self.loop.remove_handler
        self.call_later = self.loop.call_later
        self.cancel = self.loop.remove_timeout
        self.run = self.loop.start
        self.stop = self.loop.stop

    def add_reader(self, fd, callback, *arguments):
        self.loop.add_handler(fd, lambda fd, events: callback(*arguments), self.loop.READ)

    def serve(self, connection, served):
        stream = self.stream(connection)

        async def echo():
            while True:
                await stream.write(await stream.read_bytes(REQUEST))
                served()

        self.loop.add_callback(echo)

    def close(self):
        self.loop.close(all_fds=True)


def make_loop():
    if LIBRARY == "tornado":
        return Tornado()
    return Asyncio(importlib.import_module(LIBRARY).new_event_loop)


class Countdown:
    """Stops the loop at the last of so many calls."""

    def __init__(self, loop, left):
        self.loop, self.left = loop, left

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            self.loop.stop()
        return self.left


class Ring:
    def __init__(self, pipes, active):
        ends = [os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) for _ in range(pipes)]
        for index in range(active):
            os.write(ends[index * pipes // active][1], b"1")
        self.links = [(ends[index][0], ends[(index + 1) % pipes][1]) for index in range(pipes)]

    def watch(self, loop, count):
        def on_readable(reader, writer):
            os.write(writer, os.read(reader, 64))
            count()

        for reader, writer in self.links:
            loop.add_reader(reader, on_readable, reader, writer)

    def close(self):
        for link in self.links:
            for fd in link:
                os.close(fd)


class Random:
    """The numbers of the harness."""

    def __init__(self):
        self.state = 1

    def below(self, limit):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 33) % limit


def timed(operations, code):
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    code()
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    return wall / operations, cpu / operations


def chain(loop, operations):
    count = Countdown(loop, operations)

    def link():
        if count() > 0:
            loop.call_soon(link)

    loop.call_soon(link)
    return timed(operations, loop.run)


def batch(loop, operations):
    count = Countdown(loop, operations)

    def queue():
        for _ in range(1000):
            loop.call_soon(callback)

    def callback():
        left = count()
        if left > 0 and left % 1000 == 0:
            queue()

    queue()
    return timed(operations, loop.run)


def ring(loop, operations, pipes, active):
    ring = Ring(pipes, active)
    ring.watch(loop, Countdown(loop, operations))
    values = timed(operations, loop.run)
    for reader, _ in ring.links:
        loop.remove_reader(reader)
    ring.close()
    return values


def timers_fired(loop, operations):
    count, random = Countdown(loop, operations), Random()

    def code():
        start = time.perf_counter()
        for _ in range(operations):
            due = start + random.below(operations * 1000) / 1e9
            loop.call_later(max(0.0, due - time.perf_counter()), count)
        loop.run()

    return timed(operations, code)


def in_a_callback(loop, operations, work):
    def callback():
        work()
        loop.stop()

    loop.call_soon(callback)
    return timed(operations, loop.run)


def nothing():
    pass


def timers_cancelled(loop, operations, _live):
    random = Random()

    def work():
        timers = [loop.call_later(600 + random.below(1_000_000) / 1e6, nothing) for _ in range(operations)]
        for timer in timers:
            loop.cancel(timer)

    return in_a_callback(loop, operations, work)


def timers_rearmed(loop, operations, times):
    live = operations // times

    def work():
        timers = [loop.call_later(600 + index / 1e3, nothing) for index in range(live)]
        for index in range(times):
            for position, timer in enumerate(timers):
                # There is no other way.
                loop.cancel(timer)
                timers[position] = loop.call_later(600 + index / 1e3, nothing)

    return in_a_callback(loop, operations, work)


def lateness(loop, operations, active):
    ring, random, late = Ring(100, active), Random(), []
    if active > 0:
        ring.watch(loop, Countdown(loop, ENDLESS))

    def on_timer(deadline):
        now = time.perf_counter()
        if deadline is not None:
            late.append(now - deadline)
        if len(late) == operations:
            return loop.stop()
        delay = (200 + random.below(800)) / 1e6
        loop.call_later(delay, lambda: on_timer(now + delay))

    loop.call_soon(on_timer, None)
    loop.run()
    for reader, _ in ring.links if active > 0 else ():
        loop.remove_reader(reader)
    ring.close()
    late.sort()
    return late[len(late) * 50 // 100] * 1e6, late[len(late) * 99 // 100] * 1e6


def late(loop, operations, callbacks, micros):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    late, since = [], [None]

    def again():
        until = time.perf_counter() + micros / 1e6
        while time.perf_counter() < until:
            pass
        if len(late) < operations:
            loop.call_soon(again)

    def told():
        ours.recv(8)
        if since[0] is not None:
            late.append(time.perf_counter() - since[0])
        if len(late) == operations:
            return loop.stop()
        since[0] = time.perf_counter()
        theirs.send(b"x")

    loop.add_reader(ours.fileno(), told)
    theirs.send(b"x")
    for _ in range(callbacks):
        loop.call_soon(again)
    loop.run()
    loop.remove_reader(ours.fileno())
    late.sort()
    return late[len(late) * 50 // 100] * 1e6, late[len(late) * 99 // 100] * 1e6


def connections_to(port, number):
    for _ in range(number):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def echo(loop, operations, port, connections):
    count = Countdown(loop, operations)
    for connection in connections_to(port, connections):
        loop.serve(connection, count)
    return timed(operations, loop.run)


def mix(loop, operations, port, connections, by_requests):
    count, over = Countdown(loop, operations), threading.Event()

    def job():
        if by_requests:
            loop.post(nothing)
        return sum(range(1000))

    def periodic():
        loop.call_later(3600 if by_requests else PERIOD, periodic)

    def post_by_time():
        while not over.wait(POST):
            loop.post(nothing)

    for connection in connections_to(port, connections):
        loop.connect(connection, lambda: Served(loop.loop, count, job))
    periodic()
    posting = threading.Thread(target=post_by_time)
    if not by_requests:
        posting.start()
    values = timed(operations, loop.run)
    over.set()
    return values


def post(loop, operations):
    other, made = [], threading.Event()

    def other_thread():
        other.append(make_loop())
        made.set()
        other[0].run()

    thread = threading.Thread(target=other_thread)
    thread.start()
    made.wait()
    left = operations

    def bounce(here, there):
        nonlocal left
        left -= 1
        if left > 0:
            return there.post(bounce, there, here)
        here.stop()
        there.post(there.stop)

    other[0].post(bounce, other[0], loop)
    values = timed(operations, loop.run)
    thread.join()
    return values


def posts(loop, operations, threads):
    count = Countdown(loop, operations // threads * threads)

    def post_all():
        for _ in range(operations // threads):
            loop.post(count)

    def code():
        posting = [threading.Thread(target=post_all) for _ in range(threads)]
        for thread in posting:
            thread.start()
        loop.run()
        for thread in posting:
            thread.join()

    return timed(operations, code)


def post_local(loop, operations):
    count = Countdown(loop, operations)

    def link():
        if count() > 0:
            loop.post(link)

    loop.post(link)
    return timed(operations, loop.run)


def register(loop, operations):
    reader, writer = os.pipe()

    def work():
        for _ in range(operations):
            loop.add_reader(reader, nothing)
            loop.remove_reader(reader)

    values = in_a_callback(loop, operations, work)
    os.close(reader)
    os.close(writer)
    return values


def version(_loop, _operations):
    library = importlib.import_module(LIBRARY)
    return (getattr(library, "version", None) or getattr(library, "__version__", sys.version.split()[0]),)


def main():
    work = globals()[sys.argv[2].replace("-", "_")]
    warm_up, operations, *parameters = map(int, sys.argv[3:])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if warm_up > 0:
        loop = make_loop()
        work(loop, warm_up, *parameters)
        loop.close()
    print(*work(make_loop(), operations, *parameters), flush=True)
    # What is still connected or pending ends with the process.
    os._exit(0)


LIBRARY = sys.argv[1]
main()
