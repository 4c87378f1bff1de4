"""The loop inside asyncio: what both do in turn, and what is left when either ends half way."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import unittest

import ioloop_ctypes
from ioloop_asyncio import BUSY, CLOSED, READ, THREAD, WRITE, Embedded, Error, Selector, load

LIBRARY = load(os.environ["IOLOOP_LIBRARY"])
# What hangs fails after so many seconds.
PATIENCE = 60


def watched():
    """How many descriptors asyncio watches, beside its own for calls from other threads."""
    return len(asyncio.get_running_loop()._selector.get_map()) - 1


def run(case, left=0):
    """Runs a case in asyncio, in which no callback fails, and which leaves so many descriptors and nothing pending."""
    raised = []

    async def limited():
        # Else a callback that fails would be heard of, but would fail no test.
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
        await asyncio.wait_for(case(), PATIENCE)
        assert watched() == left, watched()

    asyncio.run(limited())
    assert not raised, raised


async def cancel_all():
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def pair(case):
    ours, theirs = socket.socketpair()
    case.addCleanup(ours.close)
    case.addCleanup(theirs.close)
    ours.setblocking(False)
    return ours, theirs


class Case(unittest.TestCase):
    def tearDown(self):
        self.assertFalse(ioloop_ctypes._pending)


class Together(Case):
    def test_timers_watches_posts_and_tasks_take_turns(self):
        async def case():
            log, ours, theirs = [], *pair(self)
            async with Embedded(LIBRARY) as io_loop:
                # Each begins the next: our timer, asyncio's timer, a thread's post, a task of asyncio's, our reader.
                queue = asyncio.Queue()

                def timer():
                    log.append("timer")
                    asyncio.get_running_loop().call_later(0.001, asyncio_timer)

                def asyncio_timer():
                    log.append("timer of asyncio's")
                    threading.Thread(target=io_loop.call_soon_threadsafe, args=(post, threading.get_ident())).start()

                def post(ident):
                    log.append("post")
                    self.assertEqual(ident, threading.get_ident())
                    queue.put_nowait(None)

                async def task():
                    await queue.get()
                    log.append("task")
                    theirs.send(b"xy")

                def read(fd, events):
                    self.assertEqual((fd, events), (ours.fileno(), READ))
                    log.append(ours.recv(1))
                    if log[-1] == b"y":
                        watch.cancel()
                        io_loop.stop()

                watch = io_loop.add_handler(ours.fileno(), READ, read)
                io_loop.call_later(0.001, timer)
                running = asyncio.create_task(task())
                await io_loop.stopped
                await running
                self.assertEqual(log, ["timer", "timer of asyncio's", "post", "task", b"x", b"y"])

        run(case)

    def test_a_flood_of_either_does_not_starve_the_other(self):
        async def case():
            async with Embedded(LIBRARY) as io_loop:
                ours = theirs = 0

                def again():
                    nonlocal ours
                    ours += 1
                    if not io_loop.stopped.done():
                        io_loop.call_soon_threadsafe(again)

                io_loop.call_soon_threadsafe(again)
                while ours < 100:
                    theirs += 1
                    await asyncio.sleep(0)
                self.assertGreaterEqual(theirs, 50)
                io_loop.stop()
                await io_loop.stopped

        run(case)

    def test_a_handle_may_be_stale(self):
        async def case():
            async with Embedded(LIBRARY) as io_loop:
                fired, (ours, _) = asyncio.Event(), pair(self)
                timer = io_loop.call_later(0, fired.set)
                other = io_loop.call_later(PATIENCE, self.fail)
                watch = io_loop.add_handler(ours.fileno(), WRITE, lambda *_: None)
                self.assertTrue(other.cancel() and watch.cancel())
                await fired.wait()
                handles = [timer, other, watch]
                self.assertFalse(any(handle.cancel() for handle in handles))
            self.assertFalse(any(handle.cancel() for handle in handles))

        run(case)

    def test_the_handler_of_a_closed_number_is_cancelled(self):
        async def case():
            async with Embedded(LIBRARY) as io_loop:
                ours, _ = pair(self)
                handler = io_loop.add_handler(ours.fileno(), READ | WRITE, self.fail)
                ours.close()
                self.assertTrue(handler.cancel())
                self.assertFalse(handler.cancel())

        run(case)

    def test_a_descriptor_that_is_renewed_is_registered_again(self):
        async def case():
            async with Embedded(LIBRARY) as io_loop:
                # It is closed behind the loop's back while a duplicate of it lives.
                ours, theirs = pair(self)
                duplicate = ours.dup()
                self.addCleanup(duplicate.close)
                watch = io_loop.add_handler(ours.fileno(), READ, self.fail)
                ours.close()
                watch.cancel()
                theirs.send(b"x")
                for _ in range(3):
                    posted = asyncio.Event()
                    threading.Thread(target=io_loop.call_soon_threadsafe, args=(posted.set,)).start()
                    await posted.wait()

        run(case)


class Exceptions(Case):
    def test_what_a_callback_raises_goes_to_the_handler_of_asyncio(self):
        async def case():
            raised, ours = [], pair(self)[0]
            asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
            async with Embedded(LIBRARY) as io_loop:

                def fail(exception):
                    raise exception

                def fail_twice(*_):
                    if len(raised) == 3:
                        watch.cancel()
                        io_loop.stop()
                    raise IndexError

                io_loop.call_soon_threadsafe(fail, ValueError())
                io_loop.call_later(0, fail, KeyError())
                io_loop.call_later(0.001, io_loop.call_soon_threadsafe, lambda: None)
                while len(raised) < 2:
                    await asyncio.sleep(0)
                watch = io_loop.add_handler(ours.fileno(), WRITE, fail_twice)
                await io_loop.stopped
            self.assertEqual([type(exception) for exception in raised], [ValueError, KeyError, IndexError, IndexError])

        run(case)

    def test_what_ends_a_program_ends_it(self):
        for end in (SystemExit, KeyboardInterrupt):
            closed = []

            async def case():
                async with Embedded(LIBRARY) as io_loop:

                    def leave():
                        raise end

                    io_loop.call_soon_threadsafe(leave)
                    try:
                        await io_loop.stopped
                    finally:
                        closed.append(io_loop)

            with self.assertRaises(end):
                asyncio.run(case())
            # asyncio cancels what runs, and so the loop is closed in order.
            self.assertEqual(len(closed), 1)


class Ends(Case):
    def test_closing_half_way_disposes_of_everything_and_runs_nothing(self):
        async def case():
            io_loop, (ours, theirs) = Embedded(LIBRARY), pair(self)
            io_loop.call_later(0, self.fail)
            io_loop.call_later(PATIENCE, self.fail)
            io_loop.call_soon_threadsafe(self.fail)
            io_loop.add_handler(ours.fileno(), READ, self.fail)
            theirs.send(b"x")
            self.assertEqual(len(ioloop_ctypes._pending), 4)
            io_loop.close()
            self.assertEqual(len(ioloop_ctypes._pending), 0)
            io_loop.close()
            for refused in (
                lambda: io_loop.call_later(0, self.fail),
                lambda: io_loop.call_soon_threadsafe(self.fail),
                lambda: io_loop.add_handler(ours.fileno(), READ, self.fail),
                io_loop.stop,
            ):
                with self.assertRaises(Error) as caught:
                    refused()
                self.assertEqual(caught.exception.status, CLOSED)

        run(case)

    def test_a_callback_cannot_close_its_loop_and_another_thread_cannot_touch_it(self):
        async def case():
            async with Embedded(LIBRARY) as io_loop:
                statuses = []

                def refused(call, *arguments):
                    try:
                        call(*arguments)
                    except Error as error:
                        statuses.append(error.status)

                io_loop.call_soon_threadsafe(refused, io_loop.close)
                await asyncio.to_thread(refused, io_loop.close)
                await asyncio.to_thread(refused, io_loop.call_later, 0, self.fail)
                await asyncio.to_thread(io_loop.stop)
                await io_loop.stopped
                self.assertEqual(sorted(statuses), [BUSY, THREAD, THREAD])

        run(case)

    def test_asyncio_may_end_first(self):
        async def case():
            left.append(Embedded(LIBRARY))
            left[0].call_later(PATIENCE, self.fail)

        left = []
        run(case, left=1)
        self.assertEqual(len(ioloop_ctypes._pending), 1)
        left[0].close()

    def test_a_stopped_loop_is_out_of_asyncio_and_keeps_what_is_pending(self):
        async def case():
            io_loop = Embedded(LIBRARY)
            io_loop.call_later(PATIENCE, self.fail)
            io_loop.stop()
            await io_loop.stopped
            self.assertEqual(watched(), 0)
            self.assertEqual(len(ioloop_ctypes._pending), 1)
            io_loop.close()

        run(case)

    def test_a_program_and_a_thread_may_end_without_closing(self):
        program = """
import atexit
atexit.register(lambda: print(len(ioloop_ctypes._pending), "pending"))
import asyncio, os, threading, ioloop_asyncio, ioloop_ctypes
library = ioloop_asyncio.load(os.environ["IOLOOP_LIBRARY"])
async def main():
    io_loop = ioloop_asyncio.Embedded(library)
    io_loop.call_later(60, print)
    io_loop.add_handler(readable, ioloop_asyncio.READ, print)
    kept.append(io_loop)
readable, _ = os.pipe()
kept = []
thread = threading.Thread(target=lambda: asyncio.run(main()))
thread.start()
thread.join()
assert not ioloop_ctypes._pending, "they went with the thread"
asyncio.run(main())
assert len(ioloop_ctypes._pending) == 2
"""
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (0, "0 pending\n", ""))


class Inside(Case):
    """asyncio on a loop of ioloop's."""

    def run_inside(self, case):
        io_loop, raised = ioloop_ctypes.IOLoop(LIBRARY), []
        asyncio_loop = asyncio.SelectorEventLoop(Selector(io_loop))
        asyncio_loop.set_exception_handler(lambda _, context: raised.append(context))
        try:
            asyncio_loop.run_until_complete(asyncio.wait_for(case(io_loop), PATIENCE))
        finally:
            asyncio_loop.run_until_complete(cancel_all())
            asyncio_loop.close()
            self.assertEqual(raised, [])

    def test_streams_threads_and_timers_of_asyncio(self):
        async def case(_):
            async def echo(reader, writer):
                while data := await reader.read(1000):
                    writer.write(data)
                    await writer.drain()
                writer.close()

            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            sent = bytes(range(256)) * 4000
            writer.write(sent)
            writer.write_eof()
            self.assertEqual(await reader.read(), sent)
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            self.assertEqual(await asyncio.to_thread(lambda: 42), 42)
            await asyncio.sleep(0.001)

        self.run_inside(case)

    def test_callbacks_of_the_loop_while_asyncio_waits(self):
        async def case(io_loop):
            log, (ours, theirs) = [], pair(self)
            fired, received = asyncio.Event(), asyncio.Event()
            io_loop.call_later(0.001, fired.set)
            await fired.wait()

            def read(*_):
                log.append(ours.recv(8))
                self.assertTrue(watch.cancel())
                received.set()

            watch = io_loop.add_handler(ours.fileno(), READ, read)
            threading.Thread(target=io_loop.call_soon_threadsafe, args=(theirs.send, b"x")).start()
            await received.wait()
            self.assertEqual(log, [b"x"])

        self.run_inside(case)

    def test_stopping_the_loop_stops_asyncio(self):
        async def case(io_loop):
            io_loop.call_later(0, io_loop.stop)
            await asyncio.sleep(PATIENCE)

        with self.assertRaisesRegex(RuntimeError, "stopped before Future completed"):
            self.run_inside(case)

    def test_what_cannot_be_watched_is_refused_as_elsewhere(self):
        async def case(_):
            with open(__file__) as file:
                with self.assertRaises(PermissionError):
                    asyncio.get_running_loop().add_reader(file, self.fail)
                self.assertFalse(asyncio.get_running_loop().remove_reader(file))

        self.run_inside(case)


if __name__ == "__main__":
    unittest.main()
