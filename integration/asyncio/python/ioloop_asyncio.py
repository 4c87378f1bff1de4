"""asyncio and a loop of ioloop's, either inside the other.

    library = load("libioloop.so.0")

    async def main():
        async with Embedded(library) as io_loop:
            io_loop.call_later(0.5, print, "half a second later")
            await io_loop.stopped
"""

import asyncio
import selectors
from collections.abc import Mapping

from ioloop_ctypes import BUSY, CLOSED, READ, RENEWED, STOPPED, THREAD, WRITE, Error, IOLoop, load

__all__ = ["BUSY", "CLOSED", "READ", "THREAD", "WRITE", "Embedded", "Error", "Selector", "load"]


class Embedded(IOLoop):
    """A loop inside the asyncio loop that runs here, until it is stopped or closed."""

    def __init__(self, library, name="asyncio"):
        super().__init__(library, name)
        self._asyncio = asyncio.get_running_loop()
        self.stopped = self._asyncio.create_future()
        self._asyncio.add_reader(self.descriptor, self._readable)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.close()

    def _readable(self):
        turned = self.turn()
        if turned & STOPPED:
            self._leave()
            self.stopped.done() or self.stopped.set_result(None)
        elif turned & RENEWED:
            # It has another descriptor now.
            self._leave()
            self._renew()
            self._asyncio.add_reader(self.descriptor, self._readable)

    def _leave(self):
        if not self._asyncio.is_closed():
            self._asyncio.remove_reader(self.descriptor)

    def close(self):
        super().close()
        # Its number may be another file's next; closing twice must not take that out.
        if self.descriptor is not None:
            self._leave()
            self.descriptor = None


class Selector(selectors.BaseSelector):
    """What an asyncio loop waits in, so it runs on a loop of ioloop's: asyncio.SelectorEventLoop(Selector(io_loop)).

    The loop's own callbacks are called whenever asyncio waits; stopping it stops asyncio. It is closed with asyncio.
    """

    def __init__(self, io_loop):
        self._io_loop = io_loop
        self._keys = {}
        self._handles = {}
        self._ready = {}

    def register(self, fileobj, events, data=None):
        fd = _number(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        try:
            self._handles[fd] = self._io_loop.add_handler(fd, _wanted(events), self._came)
        except Error as error:
            raise PermissionError(str(error)) from error
        self._keys[fd] = key = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj):
        fd = _number(fileobj)
        key = self._keys.pop(fd)
        self._handles.pop(fd).cancel()
        return key

    def modify(self, fileobj, events, data=None):
        key = self._keys[_number(fileobj)]
        self._handles[key.fd].modify(_wanted(events))
        self._keys[key.fd] = key = key._replace(events=events, data=data)
        return key

    def _came(self, fd, events):
        self._ready[fd] = events

    def select(self, timeout=None):
        if self._io_loop.turn(timeout) & STOPPED:
            asyncio.get_running_loop().stop()
        ready, self._ready = self._ready, {}
        # A callback of the loop's may have had some unregistered.
        return [(self._keys[fd], _events(came) & self._keys[fd].events) for fd, came in ready.items() if fd in self._keys]

    def close(self):
        self._keys.clear()
        self._handles.clear()
        self._io_loop.close()

    def get_map(self):
        return _Keys(self._keys)


class _Keys(Mapping):
    """The keys of a selector, by descriptor or by what has one."""

    def __init__(self, keys):
        self._keys = keys

    def __getitem__(self, fileobj):
        return self._keys[_number(fileobj)]

    def __iter__(self):
        return iter(self._keys)

    def __len__(self):
        return len(self._keys)


def _wanted(events):
    return READ * bool(events & selectors.EVENT_READ) | WRITE * bool(events & selectors.EVENT_WRITE)


def _events(came):
    return selectors.EVENT_READ * bool(came & READ) | selectors.EVENT_WRITE * bool(came & WRITE)


def _number(fileobj):
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()
