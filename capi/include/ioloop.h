/*
 * ioloop.h: an event loop for C and C++, of descriptors, timers, signals and posts from other
 * threads.
 *
 *     static void late(ioloop loop, void *data) {
 *         puts(data);
 *         ioloop_stop(loop);
 *     }
 *
 *     ioloop loop;
 *     if (ioloop_new("example", &loop)
 *         || ioloop_timer(loop, IOLOOP_SECOND, 0, late, "a second later", NULL, NULL)
 *         || ioloop_run(loop)
 *         || ioloop_close(loop))
 *         fprintf(stderr, "%s\n", ioloop_error());
 *
 *     cc example.c $(pkg-config --cflags --libs ioloop)
 *
 * Rules for every function:
 *
 * - Status. A function that returns int returns IOLOOP_OK, which is 0, or says what was wrong, and
 *   has changed nothing then. ioloop_error() has the words for it. Below, "Returns" names what is
 *   particular to a function. Each that takes a loop returns IOLOOP_CLOSED too, and each that is
 *   not for any thread IOLOOP_THREAD.
 * - Threads. A loop belongs to the thread that made it. Functions marked "Any thread" may be called
 *   from every thread, the others are refused there. None of them may be called in a handler that
 *   was set with sigaction(2): use ioloop_signal. One thread may have many loops, but runs one at a
 *   time.
 * - Fork. A child that was forked has none of its parent's loops: run and turn are refused with
 *   IOLOOP_FORKED. It makes loops of its own, or executes another program.
 * - Numbers. A loop is a number, and so is a watch, timer, signal or hook on it, in two types that
 *   the compiler keeps apart. 0 is none, as in `ioloop loop = {0}`. No number is used twice in a
 *   process, so one that is stale, of another loop or made up is refused, and does no harm. There
 *   is nothing to free: the loop ends what is left on it.
 * - Data. A callback comes with a pointer of yours, which it is called with, and a function that
 *   disposes of that pointer. Either may be NULL. The disposal is called exactly once, when the
 *   callback will not be called any more: it has ended, it was removed, or the loop was closed. It
 *   is called as well where the function that was given it is refused. So whatever happens, the
 *   pointer is the library's from the call on.
 * - Order. Nothing is called back inside the call that asks for it, but for disposals.
 * - Callbacks and disposals may call everything in here, also for what they belong to. They have to
 *   return: no exception of C++ and no longjmp may leave them.
 * - Time is in nanoseconds, of a monotonic clock.
 */
#ifndef IOLOOP_H
#define IOLOOP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif


/* Version */

/* What this header is of, as numbers, as one number that #if can compare, and as a string. */
#define IOLOOP_VERSION_MAJOR 0
#define IOLOOP_VERSION_MINOR 1
#define IOLOOP_VERSION_PATCH 0
#define IOLOOP_VERSION_STRING "0.1.0"
#define IOLOOP_VERSION                                                                            \
    IOLOOP_VERSION_OF(IOLOOP_VERSION_MAJOR, IOLOOP_VERSION_MINOR, IOLOOP_VERSION_PATCH)
#define IOLOOP_VERSION_OF(major, minor, patch) ((major) << 16 | (minor) << 8 | (patch))

/*
 * Any thread. What the library is that the program runs with: IOLOOP_VERSION, and
 * IOLOOP_VERSION_STRING, as they were in its header.
 */
unsigned ioloop_version(void);
const char *ioloop_version_string(void);


/* Status */

enum {
    IOLOOP_OK = 0,
    /* A pointer that must not be NULL is, or a value is none of those that there are. */
    IOLOOP_INVALID = 1,
    /* The loop was closed, or never was. */
    IOLOOP_CLOSED = 2,
    /* The watch, timer, signal or hook has ended, or never was, or is another kind of thing. */
    IOLOOP_GONE = 3,
    /* The loop is running, or another one is on this thread. */
    IOLOOP_BUSY = 4,
    /* The loop is another thread's, or this thread is ending. */
    IOLOOP_THREAD = 5,
    /* The loop is that of the process which this one was forked from. */
    IOLOOP_FORKED = 6,
    /* The descriptor is not open, or is the loop's own. */
    IOLOOP_DESCRIPTOR = 7,
    /* The descriptor has a watch on this loop already. */
    IOLOOP_EXISTS = 8,
    /* A regular file or the like, which is always ready, cannot be watched. */
    IOLOOP_UNSUPPORTED = 9,
    /* The limit of watches, or of open descriptors, is reached. */
    IOLOOP_LIMIT = 10,
    /* The system failed. */
    IOLOOP_SYSTEM = 11,
    /* The library has a bug; please report it. */
    IOLOOP_BUG = 12
};

/*
 * Any thread. What went wrong in the last call of this thread that was refused: on what, why, and
 * what to do. It is never NULL, and empty if no call was refused yet. The string is the library's,
 * and good until the next refused call of this thread.
 */
const char *ioloop_error(void);

/*
 * Any thread. What a status means in general, for a program that has kept the number. It is never
 * NULL, also for what is no status. The string is the library's, and always good.
 */
const char *ioloop_status_text(int status);


/* Types */

/* A loop, and a watch, timer, signal or hook on one. Two are the same if their numbers are. */
typedef struct ioloop { uint64_t number; } ioloop;
typedef struct ioloop_id { uint64_t number; } ioloop_id;

/* What is called when a timer is due, a post has arrived, or the loop woke. */
typedef void (*ioloop_callback)(ioloop loop, void *data);

/* What disposes of the pointer that a callback came with. */
typedef void (*ioloop_disposal)(void *data);


/* Time */

#define IOLOOP_MICROSECOND UINT64_C(1000)
#define IOLOOP_MILLISECOND UINT64_C(1000000)
#define IOLOOP_SECOND UINT64_C(1000000000)

/* The delay of a timer that is not set. */
#define IOLOOP_NEVER UINT64_MAX

/*
 * Any thread. The nanoseconds since a moment in the past that is the same for the whole process.
 * The clock is the one that timers go by, and is read anew at each call.
 */
uint64_t ioloop_now(void);


/* Loops */

/*
 * Makes a loop of this thread, and writes its number where `loop` points. The name is for messages,
 * copied, and may be NULL. A loop has three descriptors.
 *
 * Returns IOLOOP_INVALID if `loop` is NULL, IOLOOP_LIMIT or IOLOOP_SYSTEM if the system has no
 * descriptors left, and IOLOOP_THREAD if the thread is ending.
 */
int ioloop_new(const char *name, ioloop *loop);

/*
 * Ends a loop: disposes of all that is left on it, without calling it, and releases the loop's
 * descriptors. A loop that is not closed is when its thread ends.
 *
 * Returns IOLOOP_BUSY in the loop's own callbacks: stop it there, and close it when ioloop_run has
 * returned.
 */
int ioloop_close(ioloop loop);

/*
 * Runs the loop until it is stopped, and waits while there is nothing to do. It goes on if nothing
 * is left that could ever happen. It may be called again after it has returned.
 *
 * Returns IOLOOP_OK once it was stopped, IOLOOP_BUSY in a callback of this or another loop,
 * IOLOOP_FORKED, or IOLOOP_SYSTEM.
 */
int ioloop_run(ioloop loop);

/*
 * Any thread. Stops the loop at the end of the present turn; one that does not run, after one turn
 * of its next run. What is left on it stays.
 */
int ioloop_stop(ioloop loop);


/*
 * A loop inside of another event loop
 *
 * In the place of ioloop_run, any loop that can watch a descriptor runs this one as well (GLib's,
 * Qt's, libuv's, asyncio's, poll(2)): have it watch the descriptor of this one for reading,
 * level-triggered, and call ioloop_turn with a timeout of 0 when it is readable.
 */

/* What a turn has come to. */

/* There is something to do already: the descriptor is readable. */
#define IOLOOP_WORK_LEFT 1u
/* ioloop_stop was called. */
#define IOLOOP_STOPPED 2u
/* The loop has another descriptor: ask for it, and watch it in the place of the one before. */
#define IOLOOP_RENEWED 4u

/*
 * Runs one turn of a loop. If there is nothing to do it waits for that, at most so many
 * nanoseconds; not at all if that is 0, and for ever if it is negative. What the turn has come to,
 * a sum of the above, is written where `turned` points, which may be NULL.
 *
 * Returns as ioloop_run does. With a timeout of 0 it may be called in the callbacks of another
 * loop.
 */
int ioloop_turn(ioloop loop, int64_t timeout, unsigned *turned);

/*
 * Writes the loop's descriptor where `fd` points. The descriptor is the loop's: wait for it, and do
 * nothing else with it. It stays the same until ioloop_turn says IOLOOP_RENEWED, and is closed
 * then, and with the loop.
 *
 * Returns IOLOOP_INVALID if `fd` is NULL.
 */
int ioloop_descriptor(ioloop loop, int *fd);

/*
 * Writes the nanoseconds until the next timer is due where `timeout` points, or -1 if there is
 * none. It is for systems whose descriptor does not become readable by itself when a timer is due:
 * there the other loop waits no longer than that. On Linux it does, and this is not needed.
 *
 * Returns IOLOOP_INVALID if `timeout` is NULL.
 */
int ioloop_timeout(ioloop loop, int64_t *timeout);


/* Descriptors */

/* What a watch waits for, and what it is called for. The bits are those of poll(2) on Linux. */

/* Reading would not block: there is something, or the end was reached. */
#define IOLOOP_READ 1u
/* There is something urgent, such as out-of-band data. */
#define IOLOOP_PRIORITY 2u
/* Writing would not block; or a connection was made, or could not be. */
#define IOLOOP_WRITE 4u
/* The descriptor is in error. It need not be asked for. */
#define IOLOOP_ERROR 8u
/* The peer has hung up in both directions. It cannot be asked for. */
#define IOLOOP_HANGUP 16u
/* The peer writes no more, whatever of it is unread yet. Linux alone has it. */
#define IOLOOP_READ_CLOSED 0x2000u

/* What is called when a descriptor is ready: `events` says for what, a sum of the above. */
typedef void (*ioloop_ready)(ioloop loop, int fd, unsigned events, void *data);

/*
 * Calls `ready` in each turn in which the descriptor is ready for any of `events`, until the watch
 * is removed. It is level-triggered: what you do not read today you are called for again. With 0
 * events the watch is paused from the beginning.
 *
 * An error and a hang-up arrive unasked, together with those of IOLOOP_READ and IOLOOP_WRITE that
 * are watched for: read or write, and the result says what it is.
 *
 * The descriptor stays yours. Keep it open until the watch was removed, and close it in the
 * disposal or later. Whether it blocks stays as it is: set O_NONBLOCK, or read and write once a
 * call. A descriptor has one watch on a loop; a second one takes a duplicate of it (dup(2)). Where
 * `watch` points, which may be NULL, the number of the watch is written.
 *
 * Returns IOLOOP_INVALID if `ready` is NULL or `events` has bits that there are not,
 * IOLOOP_DESCRIPTOR, IOLOOP_EXISTS, IOLOOP_UNSUPPORTED, IOLOOP_LIMIT or IOLOOP_SYSTEM.
 */
int ioloop_watch(ioloop loop, int fd, unsigned events, ioloop_ready ready, void *data,
                 ioloop_disposal dispose, ioloop_id *watch);

/*
 * Changes what a watch waits for. 0 events pause it: it is not called then, not even for an error.
 *
 * Returns IOLOOP_GONE, also if the number of the descriptor was closed and is another file's by
 * now: the watch has ended with this, so watch the number anew. Otherwise as ioloop_watch.
 */
int ioloop_modify(ioloop loop, ioloop_id watch, unsigned events);


/* Timers */

/*
 * Calls `callback` when `delay` nanoseconds have passed, never earlier; and if `repeat` is not 0,
 * again each `repeat` nanoseconds after that. The times of repetition do not drift. Those that are
 * missed because a callback takes long, or the machine was asleep, are left out. Timers that are
 * due are called by their deadlines.
 *
 * A timer that does not repeat ends when its callback has returned, unless that has set it again by
 * ioloop_reset. With IOLOOP_NEVER as its delay a timer waits for ioloop_reset. Where `timer`
 * points, which may be NULL, the number of the timer is written.
 *
 * Returns IOLOOP_INVALID if `callback` is NULL.
 */
int ioloop_timer(ioloop loop, uint64_t delay, uint64_t repeat, ioloop_callback callback, void *data,
                 ioloop_disposal dispose, ioloop_id *timer);

/*
 * Sets a timer anew, whether it is set or not, also in its own callback. It is called after `delay`
 * nanoseconds from now, and each `repeat` nanoseconds after that. IOLOOP_NEVER as the delay stops
 * it, and keeps it for the next ioloop_reset.
 *
 * Returns IOLOOP_GONE.
 */
int ioloop_reset(ioloop loop, ioloop_id timer, uint64_t delay, uint64_t repeat);


/* Signals */

/* What is called when a signal has come. */
typedef void (*ioloop_signalled)(ioloop loop, int signal, void *data);

/*
 * Calls `signalled` on the loop's thread whenever the signal has come to the process, until it is
 * removed. It is an ordinary callback, and may do anything. Signals of one kind that come before
 * the loop gets to them are one. Any number of loops and threads may listen to one signal, and all
 * of them are told.
 *
 * While anybody listens, the signal does not have its default effect. A handler that was set
 * before, by sigaction(2), is called as well. After the last one was removed, the signal is handled
 * as it was before the first.
 *
 * Returns IOLOOP_INVALID if `signalled` is NULL, or the signal is none, one that cannot be caught
 * (SIGKILL, SIGSTOP), one after which a thread cannot go on (SIGSEGV, SIGFPE, SIGILL) or one of the
 * C library's own; IOLOOP_LIMIT or IOLOOP_SYSTEM if the system has no descriptors left.
 */
int ioloop_signal(ioloop loop, int signal, ioloop_signalled signalled, void *data,
                  ioloop_disposal dispose, ioloop_id *id);


/* Posts */

/*
 * Any thread. Calls `callback` once on the loop's thread, in the next turn, and wakes the loop for
 * it. Posts of one thread arrive in their order. On the loop's own thread this defers a call. A
 * post that is refused is disposed of here, any other on the loop's thread.
 *
 * Returns IOLOOP_INVALID if `callback` is NULL.
 */
int ioloop_post(ioloop loop, ioloop_callback callback, void *data, ioloop_disposal dispose);


/* Hooks, for libraries that read ahead, or have output to flush (libwayland, OpenSSL, Xlib) */

/*
 * What is called before a sleep. It returns 0 if the loop may sleep, as far as this hook knows, and
 * anything else if there is something to do: then the loop makes another turn first.
 */
typedef int (*ioloop_before)(ioloop loop, void *data);

/*
 * Calls `hook` before each sleep of the loop, and before each poll of the descriptors while it is
 * busy, until the hook is removed. Hooks are called in the order in which they were added. The loop
 * does not sleep either if a hook posts something. A loop inside of another one sleeps from the end
 * of each ioloop_turn that leaves nothing to do. Where `id` points, which may be NULL, the number
 * of the hook is written.
 *
 * Returns IOLOOP_INVALID if `hook` is NULL.
 */
int ioloop_before_sleep(ioloop loop, ioloop_before hook, void *data, ioloop_disposal dispose,
                        ioloop_id *id);

/*
 * Calls `hook` once after each round of the hooks before a sleep, whether or not the loop slept,
 * and before what it was woken for. Otherwise as ioloop_before_sleep.
 */
int ioloop_after_wake(ioloop loop, ioloop_callback hook, void *data, ioloop_disposal dispose,
                      ioloop_id *id);


/* The end of a watch, a timer, a signal or a hook */

/*
 * Ends it: it is not called any more, not even for what has already happened. Its pointer is
 * disposed of before this returns; inside of its own callback, when that has returned. A descriptor
 * that was watched may be closed already.
 *
 * Returns IOLOOP_GONE.
 */
int ioloop_remove(ioloop loop, ioloop_id id);


/* Reports: what a loop notices of the program that runs on it */

/* What is called with a report. The text is the library's, and good until this returns. */
typedef void (*ioloop_reporter)(ioloop loop, const char *text, void *data);

/*
 * Has each report of the loop go to `report`. Without one, reports are lines on standard error.
 * Another one takes the place of the one before, which is disposed of; NULL silences them.
 */
int ioloop_report(ioloop loop, ioloop_reporter report, void *data, ioloop_disposal dispose);

/*
 * Reports each callback that holds the loop up for so many nanoseconds or more; 0, as at first,
 * reports none.
 */
int ioloop_report_slow(ioloop loop, uint64_t threshold);

/*
 * Reports a watch that is called in so many turns in a row without reading anything, and again
 * after as many more; 0, as at first, reports none. For IOLOOP_WRITE alone use thousands.
 */
int ioloop_report_spin(ioloop loop, uint32_t turns);

#ifdef __cplusplus
}
#endif

#endif
