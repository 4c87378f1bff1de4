"""ioloop.h through ctypes: there is no extension to build.

A loop belongs to the thread that made it; only call_soon_threadsafe and stop may be called from others. What a callback
raises goes to the exception handler of the asyncio loop that runs, and what ends a program is raised by turn.
"""

import asyncio
import atexit
import ctypes
import itertools
import threading

OK, INVALID, CLOSED, GONE, BUSY, THREAD = range(6)
WORK_LEFT, STOPPED, RENEWED = 1, 2, 4
_READ, _WRITE = 1, 2

_Number, _Data = ctypes.c_uint64, ctypes.c_void_p
_Disposal = ctypes.CFUNCTYPE(None, _Data)
_Callback = ctypes.CFUNCTYPE(None, _Number, _Data)
_Ready = ctypes.CFUNCTYPE(None, _Number, ctypes.c_int, _Data)

_FUNCTIONS = {
    "ioloop_new": (ctypes.c_char_p, ctypes.POINTER(_Number)),
    "ioloop_close": (_Number,),
    "ioloop_stop": (_Number,),
    "ioloop_descriptor": (_Number, ctypes.POINTER(ctypes.c_int)),
    "ioloop_turn": (_Number, ctypes.c_int64, ctypes.POINTER(ctypes.c_uint)),
    "ioloop_watch": (_Number, ctypes.c_int, ctypes.c_int, _Ready, _Data, _Disposal, ctypes.POINTER(_Number)),
    "ioloop_unwatch": (_Number, ctypes.c_int, ctypes.c_int),
    "ioloop_timer": (_Number, ctypes.c_uint64, _Callback, _Data, _Disposal, ctypes.POINTER(_Number)),
    "ioloop_post": (_Number, _Callback, _Data, _Disposal),
    "ioloop_remove": (_Number, _Number),
}


class Error(Exception):
    """A call that was refused: its status, and why."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def load(path):
    """The shared library, told what its functions take."""
    library = ctypes.CDLL(path)
    library.ioloop_error.restype = ctypes.c_char_p

    def check(status, _function, _arguments):
        if status != OK:
            raise Error(status, library.ioloop_error().decode())

    for name, arguments in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes, function.errcheck = ctypes.c_int, arguments, check
    return library


# What the library holds of Python's are numbers, and functions that are never freed.
_pending = {}
_numbers = itertools.count(1)


def _keep(owner, callback, arguments):
    number = next(_numbers)
    _pending[number] = (owner, callback, arguments)
    return number


@_Disposal
def _dispose(number):
    del _pending[number]


@_Callback
def _call(_loop, number):
    owner, callback, arguments = _pending[number]
    owner._run(callback, arguments)


@_Ready
def _ready(_loop, _fd, number):
    owner, callback, arguments = _pending[number]
    owner._run(callback, arguments)


class Handle:
    """A watch or a timer."""

    def __init__(self, owner, number):
        self._owner, self._number = owner, number

    def cancel(self):
        """Ends it; false if it had ended."""
        owner = self._owner
        return _ended(owner._library.ioloop_remove, owner._loop, self._number)


def _ended(function, *arguments):
    try:
        function(*arguments)
    except Error as error:
        if error.status in (GONE, CLOSED):
            return False
        raise
    return True


class IOLoop:
    """A loop for somebody who calls turn: when the descriptor is readable, or to wait for it."""

    def __init__(self, library, name="python"):
        self._library = library
        self._fatal = None
        loop = _Number()
        library.ioloop_new(name.encode(), loop)
        self._loop = loop.value
        _open().loops.add(self)
        self._renew()

    def _renew(self):
        fd = ctypes.c_int()
        self._library.ioloop_descriptor(self._loop, fd)
        self.descriptor = fd.value

    def turn(self, timeout=0):
        """Waits for at most so many seconds, None for ever, runs one turn, and says what came of it."""
        turned = ctypes.c_uint()
        nanoseconds = -1 if timeout is None else max(0, int(timeout * 1e9))
        self._library.ioloop_turn(self._loop, nanoseconds, turned)
        if self._fatal is not None:
            fatal, self._fatal = self._fatal, None
            raise fatal
        return turned.value

    def call_later(self, delay, callback, *arguments):
        """Calls back once, after so many seconds."""
        timer = _Number()
        number = _keep(self, callback, arguments)
        self._library.ioloop_timer(self._loop, int(delay * 1e9), _call, number, _dispose, timer)
        return Handle(self, timer.value)

    def call_soon_threadsafe(self, callback, *arguments):
        """Calls back in the next turn, from any thread."""
        self._library.ioloop_post(self._loop, _call, _keep(self, callback, arguments), _dispose)

    def add_reader(self, fd, callback, *arguments):
        """Calls back as long as the descriptor is readable; it has to stay open that long."""
        return self._watch(fd, _READ, callback, arguments)

    def add_writer(self, fd, callback, *arguments):
        """Calls back as long as the descriptor is writable."""
        return self._watch(fd, _WRITE, callback, arguments)

    def remove_reader(self, fd):
        """Ends the reader of a descriptor, which may be closed already; false if there is none."""
        return _ended(self._library.ioloop_unwatch, self._loop, fd, _READ)

    def remove_writer(self, fd):
        """Ends the writer of a descriptor; else as remove_reader."""
        return _ended(self._library.ioloop_unwatch, self._loop, fd, _WRITE)

    def _watch(self, fd, direction, callback, arguments):
        watch = _Number()
        number = _keep(self, callback, arguments)
        self._library.ioloop_watch(self._loop, fd, direction, _ready, number, _dispose, watch)
        return Handle(self, watch.value)

    def stop(self):
        """Stops the loop, from any thread, at the end of its turn; what is pending stays so."""
        self._library.ioloop_stop(self._loop)

    def close(self):
        """Ends the loop with what is pending; refused in its own callbacks."""
        try:
            self._library.ioloop_close(self._loop)
        except Error as error:
            if error.status != CLOSED:
                raise
        _open().loops.discard(self)

    def _run(self, callback, arguments):
        # Nothing may be raised through the library.
        try:
            callback(*arguments)
        except Exception as exception:
            context = {"message": f"Exception in ioloop callback {callback!r}", "exception": exception}
            asyncio.get_running_loop().call_exception_handler(context)
        except BaseException as fatal:
            self._fatal = fatal


class _Open:
    """The loops of a thread. Those that are left when it ends are closed while there still is a Python to call."""

    def __init__(self):
        self.loops = set()

    def close(self):
        for io_loop in list(self.loops):
            io_loop.close()

    __del__ = close


_local = threading.local()


def _open():
    if not hasattr(_local, "open"):
        _local.open = _Open()
    return _local.open


atexit.register(lambda: _open().close())
