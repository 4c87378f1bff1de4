"""A server of HTTP/1.1 on Tornado, or on uvloop with httptools.

Called with the library, `serve`, the requests before the time runs and while it does, the connections, and the length of
the body; or with the library and `version`. It prints its port, and in the end a value for each column.
"""

import asyncio
import importlib
import os
import resource
import socket
import sys
import time


class Count:
    def __init__(self, warm_up, work, connections, stop):
        self.warm_up, self.work, self.connections, self.stop = warm_up, work, connections, stop
        self.accepted = self.answered = self.closed = 0
        self.first = 1 << 60

    def connected(self):
        self.accepted += 1
        if self.accepted == self.connections:
            self.first = self.answered + self.warm_up

    def answer(self):
        number = self.answered
        self.answered += 1
        if number == self.first:
            self.began = time.perf_counter(), time.process_time()
        elif number == self.first + self.work:
            wall, cpu = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
            print(wall * 1e6 / self.work, cpu * 1e6 / self.work, status("VmHWM:") / 1024, status("Threads:"), flush=True)
            self.stop()

    def disconnected(self):
        self.closed += 1
        if self.closed == self.connections:
            print("the clients have gone before they had asked enough", file=sys.stderr)
            os._exit(1)


def status(field):
    with open("/proc/self/status") as lines:
        return float(next(line for line in lines if line.startswith(field)).split()[1])


def listener():
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(5000)
    listening.setblocking(False)
    print(listening.getsockname()[1], flush=True)
    return listening


def on_tornado(count, body):
    from tornado import httpserver, ioloop, web

    class Hello(web.RequestHandler):
        def get(self):
            count.answer()
            self.write(body)

    class Server(httpserver.HTTPServer):
        def handle_stream(self, stream, address):
            count.connected()
            stream.set_nodelay(True)
            super().handle_stream(stream, address)

        def on_close(self, connection):
            count.disconnected()
            super().on_close(connection)

    Server(web.Application([("/", Hello)])).add_sockets([listener()])
    ioloop.IOLoop.current().start()


def on_uvloop(count, body):
    import httptools
    import uvloop

    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)

    class Hello(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.parser = transport, httptools.HttpRequestParser(self)
            count.connected()

        def data_received(self, data):
            self.parser.feed_data(data)

        def on_message_complete(self):
            count.answer()
            self.transport.write(head + body)

        def connection_lost(self, error):
            count.disconnected()

    loop = uvloop.new_event_loop()
    loop.run_until_complete(loop.create_server(Hello, sock=listener()))
    loop.run_forever()


def main():
    library = sys.argv[1].split(",")[0]
    if sys.argv[2] == "version":
        module = importlib.import_module(library)
        return print(getattr(module, "version", None) or module.__version__)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    warm_up, work, connections, length = map(int, sys.argv[3:])
    body = b"Hello\n" if length == 6 else b"." * length
    # What is still connected ends with the process.
    count = Count(warm_up, work, connections, lambda: os._exit(0))
    {"tornado": on_tornado, "uvloop": on_uvloop}[library](count, body)


main()
