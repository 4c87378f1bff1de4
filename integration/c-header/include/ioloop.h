/*
 * ioloop: an event loop of callbacks, timers and posts from other threads.
 *
 *     static void late(ioloop loop, void *data) {
 *         puts(data);
 *         ioloop_stop(loop);
 *     }
 *
 *     ioloop loop;
 *     if (ioloop_new("example", &loop) || ioloop_timer(loop, 1000000, late, "a millisecond later", NULL, NULL)
 *         || ioloop_run(loop) || ioloop_close(loop))
 *         fprintf(stderr, "%s\n", ioloop_error());
 *
 * Rules for every function:
 *
 * - It answers IOLOOP_OK or says what was wrong, and has changed nothing then; ioloop_error() says it in words.
 * - Loops, watches and timers are numbers. 0 is none, and no number is ever used again, so that a stale one,
 *   one of another kind or a made-up one is answered with an error, and does no harm.
 * - A loop belongs to the thread that made it. The functions marked "any thread" may be called from others, the
 *   rest is refused there.
 * - A callback comes with a pointer that is yours, and a function that disposes of it, either of which may be
 *   NULL. It is called exactly once, when the callback will not be called any more: after it has run, when it was
 *   removed or replaced, when the loop was closed, and also when the function that it was given to is refused.
 * - Nothing is called back inside the call that asks for it, but for that disposal.
 * - Callbacks and disposals may call everything in here. They must return: no exception and no longjmp may leave
 *   them.
 */
#ifndef IOLOOP_H
#define IOLOOP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t ioloop;    /* A loop. */
typedef uint64_t ioloop_id; /* A watch or a timer. */

enum {
    IOLOOP_OK = 0,
    IOLOOP_INVALID = 1,     /* A pointer that must not be NULL is, or a value is none of those there are. */
    IOLOOP_CLOSED = 2,      /* The loop was closed, or never was. */
    IOLOOP_GONE = 3,        /* The watch or timer has ended, or never was. */
    IOLOOP_BUSY = 4,        /* The loop is running, or another one is on this thread. */
    IOLOOP_THREAD = 5,      /* The loop is another thread's. */
    IOLOOP_DESCRIPTOR = 6,  /* The descriptor is not open, or is the loop's own. */
    IOLOOP_UNSUPPORTED = 7, /* A regular file or the like, which is always ready, cannot be watched. */
    IOLOOP_LIMIT = 8,       /* The user's limit of watches is reached. */
    IOLOOP_SYSTEM = 9,      /* The system failed. */
    IOLOOP_BUG = 10         /* The library has a bug; please report it. */
};

/* What went wrong in the last call of this thread that was refused. Valid until the next one that is. Never NULL. */
const char *ioloop_error(void);

/* Disposes of the pointer that a callback came with. */
typedef void (*ioloop_disposal)(void *data);


/* Loops */

/* Makes a loop of this thread. Its name is for messages, and may be NULL. */
int ioloop_new(const char *name, ioloop *loop);

/*
 * Ends a loop: disposes of everything that is pending, without calling it. Refused (IOLOOP_BUSY) in its own
 * callbacks. A loop that is not closed is when its thread ends.
 */
int ioloop_close(ioloop loop);

/* Runs the loop until it is stopped, and waits in between. */
int ioloop_run(ioloop loop);

/* Any thread: stops the loop at the end of the present turn; one that does not run, after one turn of its next run. */
int ioloop_stop(ioloop loop);


/*
 * A loop inside another event loop (GLib's, libuv's, asyncio's, poll(2)), instead of ioloop_run: have that watch
 * the loop's descriptor for reading, level-triggered, and call ioloop_turn with a timeout of 0 when it is ready.
 */

/*
 * The loop's descriptor, until ioloop_turn says IOLOOP_RENEWED; it is closed then, and with the loop. Only ever wait for
 * it.
 */
int ioloop_descriptor(ioloop loop, int *fd);

enum {
    IOLOOP_WORK_LEFT = 1, /* The descriptor is readable already. */
    IOLOOP_STOPPED = 2,   /* ioloop_stop was called. */
    IOLOOP_RENEWED = 4    /* The loop has another descriptor: ask for it, and watch it instead of the one before. */
};

/*
 * Runs one turn, and waits for at most so many nanoseconds if there is nothing to do; for ever if that is negative.
 * What came of it, a sum of the above, is written where `turned` points, which may be NULL.
 */
int ioloop_turn(ioloop loop, int64_t timeout, unsigned *turned);

/*
 * The nanoseconds until the next timer is due, -1 if there is none. Needed only where the descriptor does not become
 * readable then by itself: on Linux it does.
 */
int ioloop_timeout(ioloop loop, int64_t *timeout);


/* Watches */

enum { IOLOOP_READ = 1, IOLOOP_WRITE = 2 };

typedef void (*ioloop_ready)(ioloop loop, int fd, void *data);

/*
 * Calls `ready` in each turn in which the descriptor is ready in one direction (or has hung up or failed), until the
 * watch is removed. The descriptor has to stay open that long. A watch that it has already in that direction is
 * replaced. `watch` may be NULL.
 */
int ioloop_watch(ioloop loop, int fd, int direction, ioloop_ready ready, void *data, ioloop_disposal dispose,
                 ioloop_id *watch);

/*
 * Ends the watch that a descriptor has in one direction. A number is enough: the descriptor may be closed already. Else as
 * ioloop_remove.
 */
int ioloop_unwatch(ioloop loop, int fd, int direction);

/*
 * Silences a watch, and has it called again. Where its number was closed and is another file's by now, resuming ends it and
 * answers IOLOOP_GONE: watch the number anew.
 */
int ioloop_pause(ioloop loop, ioloop_id watch);
int ioloop_resume(ioloop loop, ioloop_id watch);


/* Timers and posts */

typedef void (*ioloop_callback)(ioloop loop, void *data);

/* Calls `callback` once, when so many nanoseconds have passed. `timer` may be NULL. */
int ioloop_timer(ioloop loop, uint64_t delay, ioloop_callback callback, void *data, ioloop_disposal dispose,
                 ioloop_id *timer);

/* Has a timer that has not fired fire after so many nanoseconds from now instead. */
int ioloop_reset(ioloop loop, ioloop_id timer, uint64_t delay);

/*
 * Any thread: calls `callback` once on the loop's thread, in the next turn; in the order of the posts. A post that is
 * refused is disposed of here, any other on the loop's thread.
 */
int ioloop_post(ioloop loop, ioloop_callback callback, void *data, ioloop_disposal dispose);

/*
 * Ends a watch or a timer. Its pointer is disposed of before this returns; inside its own callback, when that
 * returns.
 */
int ioloop_remove(ioloop loop, ioloop_id watch_or_timer);

#ifdef __cplusplus
}
#endif

#endif
