/* Uses all of ioloop.h, and ends with the first thing that is not as the header says. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>

static void count_ready(ioloop loop, int fd, void *data) {
    (void)fd;
    count(loop, data);
}

static void stop(ioloop loop, void *data) {
    (void)data;
    OK(ioloop_stop(loop));
}

static int is(struct item item, int called, int disposed) {
    return item.called == called && item.disposed == disposed;
}

static int is_open(int fd) { return fcntl(fd, F_GETFD) != -1; }


/* An echo server and its client. */

struct connection {
    int fd;
    ioloop_id watch;
    char received[16];
    size_t length;
};

static struct connection *connection(int fd) {
    struct connection *connection = calloc(1, sizeof *connection);
    CHECK(connection != NULL);
    connection->fd = fd;
    return connection;
}

/* The disposal of a connection: the descriptor is not watched any more by now. */
static void close_connection(void *data) {
    struct connection *connection = data;
    CHECK(close(connection->fd) == 0);
    free(connection);
}

static void echo(ioloop loop, int fd, void *data) {
    char buffer[4];
    ssize_t length = read(fd, buffer, sizeof buffer);
    if (length > 0)
        CHECK(write(fd, buffer, (size_t)length) == length);
    else
        OK(ioloop_remove(loop, ((struct connection *)data)->watch));
}

static void receive(ioloop loop, int fd, void *data) {
    struct connection *client = data;
    ssize_t length = read(fd, client->received + client->length, sizeof client->received - client->length);
    CHECK(length > 0);
    client->length += (size_t)length;
    if (client->length == strlen("onetwothree")) {
        CHECK(memcmp(client->received, "onetwothree", client->length) == 0);
        OK(ioloop_remove(loop, client->watch));
        CHECK(is_open(fd)); /* It is in use until this returns. */
        OK(ioloop_timer(loop, MILLISECOND, stop, NULL, NULL, NULL));
    }
}

static void send_one(ioloop loop, void *data);
static void send_two(ioloop loop, void *data);
static void send_three(ioloop loop, void *data);

static void send_word(ioloop loop, void *data, const char *word, ioloop_callback next) {
    struct connection *client = data;
    CHECK(write(client->fd, word, strlen(word)) == (ssize_t)strlen(word));
    if (next)
        OK(ioloop_timer(loop, MILLISECOND, next, client, NULL, NULL));
}

static void send_one(ioloop loop, void *data) { send_word(loop, data, "one", send_two); }
static void send_two(ioloop loop, void *data) { send_word(loop, data, "two", send_three); }
static void send_three(ioloop loop, void *data) { send_word(loop, data, "three", NULL); }

static void an_echo_with_timers(void) {
    ioloop loop = new_loop();
    int fds[2];
    pair(fds);
    struct connection *server = connection(fds[0]), *client = connection(fds[1]);
    OK(ioloop_watch(loop, server->fd, IOLOOP_READ, echo, server, close_connection, &server->watch));
    OK(ioloop_watch(loop, client->fd, IOLOOP_READ, receive, client, close_connection, &client->watch));
    OK(ioloop_timer(loop, MILLISECOND, send_one, client, NULL, NULL));
    OK(ioloop_run(loop));
    CHECK(!is_open(fds[0]) && !is_open(fds[1])); /* The server has met the end of the client's, and removed itself. */
    OK(ioloop_close(loop));
}


/* Watches. */

struct rival {
    struct item item;
    ioloop_id own, other;
};

static void remove_both(ioloop loop, int fd, void *data) {
    struct rival *rival = data;
    (void)fd;
    rival->item.called++;
    OK(ioloop_remove(loop, rival->other));
    OK(ioloop_remove(loop, rival->own));
    REFUSED(IOLOOP_GONE, ioloop_remove(loop, rival->own));
    CHECK(rival->item.disposed == 0);
    OK(ioloop_stop(loop));
}

static void what_is_removed_in_a_callback_is_not_called_any_more(void) {
    ioloop loop = new_loop();
    int fds[2];
    pair(fds);
    struct rival rivals[2] = {0};
    for (int i = 0; i < 2; i++)
        OK(ioloop_watch(loop, fds[i], IOLOOP_WRITE, remove_both, &rivals[i], dispose, &rivals[i].own));
    rivals[0].other = rivals[1].own;
    rivals[1].other = rivals[0].own;
    OK(ioloop_run(loop)); /* Both are ready in one turn. */
    CHECK(rivals[0].item.called + rivals[1].item.called == 1);
    CHECK(rivals[0].item.disposed == 1 && rivals[1].item.disposed == 1);
    OK(ioloop_close(loop));
    close_pair(fds);
}

static void a_watch_is_removed_by_a_number_that_was_closed(void) {
    ioloop loop = new_loop();
    int fds[2];
    pair(fds);
    struct item item = {0};
    ioloop_id watch;
    OK(ioloop_watch(loop, fds[0], IOLOOP_READ, count_ready, &item, dispose, &watch));
    close_pair(fds);
    REFUSED(IOLOOP_GONE, ioloop_unwatch(loop, fds[0], IOLOOP_WRITE));
    REFUSED(IOLOOP_INVALID, ioloop_unwatch(loop, fds[0], IOLOOP_READ | IOLOOP_WRITE));
    OK(ioloop_unwatch(loop, fds[0], IOLOOP_READ));
    CHECK(is(item, 0, 1));
    REFUSED(IOLOOP_GONE, ioloop_unwatch(loop, fds[0], IOLOOP_READ));
    REFUSED(IOLOOP_GONE, ioloop_remove(loop, watch));
    OK(ioloop_close(loop));
    REFUSED(IOLOOP_CLOSED, ioloop_unwatch(loop, fds[0], IOLOOP_READ));
}

static void a_watch_is_paused_resumed_and_replaced(void) {
    ioloop loop = new_loop();
    int fds[2];
    pair(fds);
    struct item first = {0}, second = {0};
    ioloop_id old, new;
    OK(ioloop_watch(loop, fds[0], IOLOOP_WRITE, count_ready, &first, dispose, &old));
    OK(ioloop_pause(loop, old));
    OK(ioloop_turn(loop, 0, NULL));
    CHECK(is(first, 0, 0));
    OK(ioloop_resume(loop, old));
    OK(ioloop_turn(loop, 0, NULL));
    OK(ioloop_turn(loop, 0, NULL));
    CHECK(is(first, 2, 0));
    OK(ioloop_watch(loop, fds[0], IOLOOP_WRITE, count_ready, &second, dispose, &new));
    CHECK(is(first, 2, 1));
    REFUSED(IOLOOP_GONE, ioloop_remove(loop, old));
    OK(ioloop_turn(loop, 0, NULL));
    CHECK(is(first, 2, 1) && is(second, 1, 0));
    OK(ioloop_remove(loop, new));
    CHECK(is(second, 1, 1));
    OK(ioloop_close(loop));
    close_pair(fds);
}

static void a_watch_whose_number_is_another_files_cannot_be_resumed(void) {
    ioloop loop = new_loop();
    int fds[2], others[2];
    pair(fds);
    pair(others);
    struct item old = {0}, new = {0};
    ioloop_id watch;
    OK(ioloop_watch(loop, fds[0], IOLOOP_WRITE, count_ready, &old, dispose, &watch));
    OK(ioloop_resume(loop, watch));
    CHECK(dup2(others[0], fds[0]) == fds[0]);
    REFUSED(IOLOOP_GONE, ioloop_resume(loop, watch));
    CHECK(is(old, 0, 1));
    OK(ioloop_watch(loop, fds[0], IOLOOP_WRITE, count_ready, &new, dispose, &watch));
    OK(ioloop_turn(loop, 0, NULL));
    CHECK(is(old, 0, 1) && is(new, 1, 0));
    OK(ioloop_close(loop));
    close_pair(fds);
    close_pair(others);
}

static ioloop to_close;

static void close_loop(void *data) {
    dispose(data);
    OK(ioloop_close(to_close));
}

static void a_disposal_may_even_close_the_loop_that_is_being_asked(void) {
    to_close = new_loop();
    int fds[2];
    pair(fds);
    struct item old = {0}, new = {0};
    ioloop_id watch;
    OK(ioloop_watch(to_close, fds[0], IOLOOP_READ, count_ready, &old, close_loop, NULL));
    OK(ioloop_watch(to_close, fds[0], IOLOOP_READ, count_ready, &new, dispose, &watch));
    CHECK(is(old, 0, 1) && is(new, 0, 1));
    REFUSED(IOLOOP_CLOSED, ioloop_remove(to_close, watch));
    close_pair(fds);
}


/* Timers, and other threads. */

static void a_timer_is_reset_and_removed(void) {
    ioloop loop = new_loop();
    struct item reset = {0}, removed = {0}, fired = {0};
    ioloop_id timers[3];
    int64_t timeout = 0;
    OK(ioloop_timeout(loop, &timeout));
    CHECK(timeout == -1);
    OK(ioloop_timer(loop, HOUR, count, &reset, dispose, &timers[0]));
    OK(ioloop_timeout(loop, &timeout));
    CHECK(timeout > 0 && timeout <= (int64_t)HOUR);
    OK(ioloop_timer(loop, UINT64_MAX, count, &removed, dispose, &timers[1]));
    OK(ioloop_timer(loop, 0, count, &fired, dispose, &timers[2]));
    OK(ioloop_reset(loop, timers[0], MILLISECOND));
    OK(ioloop_remove(loop, timers[1]));
    CHECK(is(removed, 0, 1));
    while (reset.called == 0)
        OK(ioloop_turn(loop, -1, NULL));
    CHECK(is(reset, 1, 1) && is(removed, 0, 1) && is(fired, 1, 1));
    for (int i = 0; i < 3; i++) {
        REFUSED(IOLOOP_GONE, ioloop_remove(loop, timers[i]));
        REFUSED(IOLOOP_GONE, ioloop_reset(loop, timers[i], 0));
    }
    OK(ioloop_close(loop));
}

enum { POSTS = 1000 };

struct post {
    struct item item;
    int number;
};

static ioloop posted_to;
static int arrived;

static void arrive(ioloop loop, void *data) {
    struct post *post = data;
    CHECK(loop == posted_to && post->number == arrived++);
    post->item.called++;
}

static void *post_all(void *data) {
    struct post *posts = data;
    for (int i = 0; i < POSTS; i++) {
        posts[i].number = i;
        OK(ioloop_post(posted_to, arrive, &posts[i], dispose));
    }
    OK(ioloop_stop(posted_to));
    return NULL;
}

static void posts_of_another_thread_arrive_in_order(void) {
    struct post posts[POSTS] = {0};
    pthread_t thread;
    posted_to = new_loop();
    CHECK(pthread_create(&thread, NULL, post_all, posts) == 0);
    OK(ioloop_run(posted_to));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(arrived == POSTS);
    for (int i = 0; i < POSTS; i++)
        CHECK(is(posts[i].item, 1, 1));
    OK(ioloop_close(posted_to));
    struct item late = {0};
    REFUSED(IOLOOP_CLOSED, ioloop_post(posted_to, count, &late, dispose));
    REFUSED(IOLOOP_CLOSED, ioloop_stop(posted_to));
    CHECK(is(late, 0, 1));
}

static void *use_from_elsewhere(void *data) {
    ioloop loop = *(ioloop *)data;
    struct item item = {0};
    unsigned turned;
    int fd;
    int64_t timeout;
    CHECK(strlen(ioloop_error()) == 0); /* Nothing was refused on this thread yet. */
    REFUSED(IOLOOP_THREAD, ioloop_watch(loop, 0, IOLOOP_READ, count_ready, &item, dispose, NULL));
    REFUSED(IOLOOP_THREAD, ioloop_timer(loop, 0, count, &item, dispose, NULL));
    CHECK(is(item, 0, 2));
    REFUSED(IOLOOP_THREAD, ioloop_remove(loop, 1));
    REFUSED(IOLOOP_THREAD, ioloop_pause(loop, 1));
    REFUSED(IOLOOP_THREAD, ioloop_resume(loop, 1));
    REFUSED(IOLOOP_THREAD, ioloop_reset(loop, 1, 0));
    REFUSED(IOLOOP_THREAD, ioloop_run(loop));
    REFUSED(IOLOOP_THREAD, ioloop_turn(loop, 0, &turned));
    REFUSED(IOLOOP_THREAD, ioloop_descriptor(loop, &fd));
    REFUSED(IOLOOP_THREAD, ioloop_timeout(loop, &timeout));
    REFUSED(IOLOOP_THREAD, ioloop_close(loop));
    return NULL;
}

static void a_loop_is_used_from_its_thread_only(void) {
    ioloop loop = new_loop();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, use_from_elsewhere, &loop) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    OK(ioloop_close(loop));
}


/* The loop inside another one. */

static unsigned turned_when_readable(ioloop loop) {
    struct pollfd polled = {.events = POLLIN};
    unsigned turned = 0;
    OK(ioloop_descriptor(loop, &polled.fd));
    CHECK(poll(&polled, 1, -1) == 1);
    OK(ioloop_turn(loop, 0, &turned));
    return turned;
}

static int rests(ioloop loop) {
    struct pollfd polled = {.events = POLLIN};
    OK(ioloop_descriptor(loop, &polled.fd));
    return poll(&polled, 1, 0) == 0;
}

static void post_again(ioloop loop, void *data) {
    count(loop, data);
    OK(ioloop_post(loop, stop, NULL, NULL));
}

static void a_loop_in_a_loop_of_poll(void) {
    ioloop loop = new_loop();
    struct item item = {0};
    CHECK(rests(loop));
    OK(ioloop_timer(loop, MILLISECOND, post_again, &item, dispose, NULL));
    unsigned turned = 0;
    while (item.called == 0)
        turned = turned_when_readable(loop);
    CHECK(turned == IOLOOP_WORK_LEFT);
    CHECK(turned_when_readable(loop) == IOLOOP_STOPPED);
    CHECK(rests(loop));

    /* A descriptor that is closed behind the loop's back while a duplicate of it lives. */
    int fds[2];
    pair(fds);
    int duplicate = dup(fds[0]);
    ioloop_id watch;
    OK(ioloop_watch(loop, fds[0], IOLOOP_READ, count_ready, &item, NULL, &watch));
    CHECK(close(fds[0]) == 0);
    OK(ioloop_remove(loop, watch));
    CHECK(write(fds[1], "x", 1) == 1);
    CHECK(turned_when_readable(loop) & IOLOOP_RENEWED);
    OK(ioloop_turn(loop, 0, NULL));
    CHECK(rests(loop));
    CHECK(item.called == 1);
    OK(ioloop_close(loop));
    CHECK(close(duplicate) == 0 && close(fds[1]) == 0);
}


/* Refusals, and the end. */

static void refuse_inside(ioloop loop, void *data) {
    count(loop, data);
    ioloop other = new_loop();
    REFUSED(IOLOOP_BUSY, ioloop_run(loop));
    REFUSED(IOLOOP_BUSY, ioloop_turn(loop, 0, NULL));
    REFUSED(IOLOOP_BUSY, ioloop_close(loop));
    REFUSED(IOLOOP_BUSY, ioloop_run(other));
    OK(ioloop_turn(other, 0, NULL));
    OK(ioloop_close(other));
    OK(ioloop_stop(loop));
}

static void what_is_refused_is_disposed_of_and_changes_nothing(void) {
    ioloop loop = new_loop();
    struct item item = {0};
    int fd, disposed = 0;
    ioloop_id id = 0;

    REFUSED(IOLOOP_INVALID, ioloop_new(NULL, NULL));
    REFUSED(IOLOOP_INVALID, ioloop_descriptor(loop, NULL));
    REFUSED(IOLOOP_INVALID, ioloop_timeout(loop, NULL));
    REFUSED(IOLOOP_INVALID, ioloop_timer(loop, 0, NULL, &item, dispose, &id));
    REFUSED(IOLOOP_INVALID, ioloop_post(loop, NULL, &item, dispose));
    REFUSED(IOLOOP_INVALID, ioloop_watch(loop, 0, IOLOOP_READ, NULL, &item, dispose, &id));
    CHECK(item.disposed == (disposed += 3));

    REFUSED(IOLOOP_INVALID, ioloop_watch(loop, 0, 3, count_ready, &item, dispose, &id));
    REFUSED(IOLOOP_DESCRIPTOR, ioloop_watch(loop, -1, IOLOOP_READ, count_ready, &item, dispose, &id));
    CHECK(strstr(ioloop_error(), "descriptor -1: it is not open") != NULL);
    OK(ioloop_descriptor(loop, &fd));
    REFUSED(IOLOOP_DESCRIPTOR, ioloop_watch(loop, fd, IOLOOP_READ, count_ready, &item, dispose, &id));
    CHECK((fd = open("/dev/null", O_RDONLY)) != -1);
    REFUSED(IOLOOP_UNSUPPORTED, ioloop_watch(loop, fd, IOLOOP_READ, count_ready, &item, dispose, &id));
    CHECK(strstr(ioloop_error(), "always ready") != NULL);
    CHECK(close(fd) == 0);
    CHECK(item.disposed == (disposed += 4));

    /* Numbers that name nothing, or something else. */
    ioloop other = new_loop();
    OK(ioloop_timer(other, HOUR, count, &item, dispose, &id));
    ioloop_id strangers[] = {0, loop, id, UINT64_MAX};
    for (int i = 0; i < 4; i++) {
        REFUSED(IOLOOP_GONE, ioloop_remove(loop, strangers[i]));
        REFUSED(IOLOOP_GONE, ioloop_reset(loop, strangers[i], 0));
        REFUSED(IOLOOP_GONE, ioloop_pause(loop, strangers[i]));
        REFUSED(IOLOOP_GONE, ioloop_resume(loop, strangers[i]));
        if (strangers[i] == loop)
            continue;
        REFUSED(IOLOOP_CLOSED, ioloop_timer(strangers[i], 0, count, &item, dispose, NULL));
        REFUSED(IOLOOP_CLOSED, ioloop_run(strangers[i]));
        REFUSED(IOLOOP_CLOSED, ioloop_close(strangers[i]));
        disposed++;
    }
    CHECK(item.disposed == disposed);
    OK(ioloop_close(other));
    CHECK(is(item, 0, disposed + 1));

    struct item inside = {0};
    OK(ioloop_post(loop, refuse_inside, &inside, dispose));
    OK(ioloop_run(loop));
    CHECK(is(inside, 1, 1));
    OK(ioloop_close(loop));
    REFUSED(IOLOOP_CLOSED, ioloop_close(loop));
}

static ioloop closing;

static void dispose_and_ask_again(void *data) {
    static struct item refused;
    dispose(data);
    int before = refused.disposed;
    REFUSED(IOLOOP_CLOSED, ioloop_timer(closing, 0, count, &refused, dispose, NULL));
    REFUSED(IOLOOP_CLOSED, ioloop_watch(closing, 0, IOLOOP_READ, count_ready, &refused, dispose, NULL));
    REFUSED(IOLOOP_CLOSED, ioloop_post(closing, count, &refused, dispose));
    CHECK(is(refused, 0, before + 3));
}

/* Leaves something of each kind pending. */
static void fill(struct item items[4], int fds[2]) {
    closing = new_loop();
    OK(ioloop_watch(closing, fds[0], IOLOOP_READ, count_ready, &items[0], dispose_and_ask_again, NULL));
    OK(ioloop_watch(closing, fds[1], IOLOOP_WRITE, count_ready, &items[1], dispose_and_ask_again, NULL));
    OK(ioloop_timer(closing, 0, count, &items[2], dispose_and_ask_again, NULL));
    OK(ioloop_post(closing, count, &items[3], dispose_and_ask_again));
}

static void what_is_pending_is_disposed_of_once_when_the_loop_is_closed(void) {
    int fds[2];
    pair(fds);
    struct item items[4] = {0};
    fill(items, fds);
    OK(ioloop_close(closing));
    for (int i = 0; i < 4; i++)
        CHECK(is(items[i], 0, 1));
    close_pair(fds);
}

struct thread {
    struct item items[4], last;
    int fds[2];
};

static void dispose_at_the_end(void *data) {
    ioloop anew;
    dispose(data);
    REFUSED(IOLOOP_THREAD, ioloop_new(NULL, &anew));
}

static void *fill_and_end(void *data) {
    struct thread *thread = data;
    fill(thread->items, thread->fds);
    OK(ioloop_timer(closing, 0, count, &thread->last, dispose_at_the_end, NULL));
    return NULL;
}

static void and_when_its_thread_ends(void) {
    struct thread data = {0};
    pthread_t thread;
    pair(data.fds);
    CHECK(pthread_create(&thread, NULL, fill_and_end, &data) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(is(data.items[i], 0, 1));
    CHECK(is(data.last, 0, 1));
    REFUSED(IOLOOP_CLOSED, ioloop_stop(closing));
    close_pair(data.fds);
}

int main(void) {
    int free_before = dup(0);
    CHECK(close(free_before) == 0);
    an_echo_with_timers();
    what_is_removed_in_a_callback_is_not_called_any_more();
    a_watch_is_removed_by_a_number_that_was_closed();
    a_watch_is_paused_resumed_and_replaced();
    a_watch_whose_number_is_another_files_cannot_be_resumed();
    a_disposal_may_even_close_the_loop_that_is_being_asked();
    a_timer_is_reset_and_removed();
    posts_of_another_thread_arrive_in_order();
    a_loop_is_used_from_its_thread_only();
    a_loop_in_a_loop_of_poll();
    what_is_refused_is_disposed_of_and_changes_nothing();
    what_is_pending_is_disposed_of_once_when_the_loop_is_closed();
    and_when_its_thread_ends();
    /* No descriptor is left. */
    int free_after = dup(0);
    CHECK(free_after == free_before);
    CHECK(close(free_after) == 0);
    return 0;
}
