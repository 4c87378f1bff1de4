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
READ, WRITE, ERROR, HANGUP = 1, 4, 8, 16


class _Loop(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint64)]


class _Id(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint64)]


_Data, _Events = ctypes.c_void_p, ctypes.c_uint
_Disposal = ctypes.CFUNCTYPE(None, _Data)
_Callback = ctypes.CFUNCTYPE(None, _Loop, _Data)
_Ready = ctypes.CFUNCTYPE(None, _Loop, ctypes.c_int, _Events, _Data)

_FUNCTIONS = {
    "ioloop_new": (ctypes.c_char_p, ctypes.POINTER(_Loop)),
    "ioloop_close": (_Loop,),
    "ioloop_stop": (_Loop,),
    "ioloop_descriptor": (_Loop, ctypes.POINTER(ctypes.c_int)),
    "ioloop_turn": (_Loop, ctypes.c_int64, ctypes.POINTER(_Events)),
    "ioloop_watch": (_Loop, ctypes.c_int, _Events, _Ready, _Data, _Disposal, ctypes.POINTER(_Id)),
    "ioloop_modify": (_Loop, _Id, _Events),
    "ioloop_timer": (
        _Loop, ctypes.c_uint64, ctypes.c_uint64, _Callback, _Data, _Disposal, ctypes.POINTER(_Id),
    ),
    "ioloop_post": (_Loop, _Callback, _Data, _Disposal),
    "ioloop_remove": (_Loop, _Id),
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
def _ready(_loop, fd, events, number):
    owner, callback, _ = _pending[number]
    owner._run(callback, (fd, events))


class Handle:
    """A watch or a timer."""

    def __init__(self, owner, number):
        self._owner, self._number = owner, number

    def cancel(self):
        """Ends it; false if it had ended. A descriptor may be closed already."""
        try:
            self._owner._library.ioloop_remove(self._owner._loop, self._number)
        except Error as error:
            if error.status in (GONE, CLOSED):
                return False
            raise
        return True

    def modify(self, events):
        """Has a watch wait for these events from now on; 0 pause it."""
        self._owner._library.ioloop_modify(self._owner._loop, self._number, events)


class IOLoop:
    """A loop for somebody who calls turn: when the descriptor is readable, or to wait for it."""

    def __init__(self, library, name="python"):
        self._library = library
        self._fatal = None
        self._loop = _Loop()
        library.ioloop_new(name.encode(), self._loop)
        _open().loops.add(self)
        self._renew()

    def _renew(self):
        fd = ctypes.c_int()
        self._library.ioloop_descriptor(self._loop, fd)
        self.descriptor = fd.value

    def turn(self, timeout=0):
        """Waits for at most so many seconds, None for ever, runs one turn, and says what came of it."""
        turned = _Events()
        nanoseconds = -1 if timeout is None else max(0, int(timeout * 1e9))
        self._library.ioloop_turn(self._loop, nanoseconds, turned)
        if self._fatal is not None:
            fatal, self._fatal = self._fatal, None
            raise fatal
        return turned.value

    def call_later(self, delay, callback, *arguments):
        """Calls back once, after so many seconds."""
        timer = _Id()
        number = _keep(self, callback, arguments)
        self._library.ioloop_timer(self._loop, int(delay * 1e9), 0, _call, number, _dispose, timer)
        return Handle(self, timer)

    def call_soon_threadsafe(self, callback, *arguments):
        """Calls back in the next turn, from any thread."""
        self._library.ioloop_post(self._loop, _call, _keep(self, callback, arguments), _dispose)

    def add_handler(self, fd, events, callback):
        """Calls back with the descriptor and what came, as long as there is any of the events; it has to stay open that long.

        A descriptor has one handler. What is returned cancels it, or changes the events.
        """
        watch = _Id()
        number = _keep(self, callback, ())
        self._library.ioloop_watch(self._loop, fd, events, _ready, number, _dispose, watch)
        return Handle(self, watch)

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
