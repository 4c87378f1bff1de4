/* Watches of descriptors. */
#include "check.h"


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

static void echo(ioloop loop, int fd, unsigned events, void *data) {
    char buffer[4];
    ssize_t length = read(fd, buffer, sizeof buffer);
    CHECK(events & IOLOOP_READ);
    if (length > 0)
        CHECK(write(fd, buffer, (size_t)length) == length);
    else
        OK(ioloop_remove(loop, ((struct connection *)data)->watch));
}

static void receive(ioloop loop, int fd, unsigned events, void *data) {
    struct connection *client = data;
    size_t room = sizeof client->received - client->length;
    ssize_t length = read(fd, client->received + client->length, room);
    CHECK(events == IOLOOP_READ && length > 0);
    client->length += (size_t)length;
    if (client->length == strlen("onetwothree")) {
        CHECK(memcmp(client->received, "onetwothree", client->length) == 0);
        OK(ioloop_remove(loop, client->watch));
        CHECK(is_open(fd)); /* It is in use until this returns. */
        OK(ioloop_timer(loop, IOLOOP_MILLISECOND, 0, stop, NULL, NULL, NULL));
    }
}

struct sender {
    int fd, next;
    ioloop_id timer;
};

static void send_word(ioloop loop, void *data) {
    static const char *const words[] = {"one", "two", "three"};
    struct sender *sender = data;
    const char *word = words[sender->next++];
    CHECK(write(sender->fd, word, strlen(word)) == (ssize_t)strlen(word));
    if (sender->next == 3)
        OK(ioloop_remove(loop, sender->timer));
}

static void an_echo_with_timers(void) {
    ioloop loop = new_loop();
    int fds[2];
    pair(fds);
    struct connection *server = connection(fds[0]), *client = connection(fds[1]);
    struct sender sender = {.fd = fds[1]};
    OK(ioloop_watch(loop, fds[0], IOLOOP_READ, echo, server, close_connection, &server->watch));
    OK(ioloop_watch(loop, fds[1], IOLOOP_READ, receive, client, close_connection, &client->watch));
    OK(ioloop_timer(loop, 0, IOLOOP_MILLISECOND, send_word, &sender, NULL, &sender.timer));
    OK(ioloop_run(loop));
    /* The server has met the end of the client's, and removed itself. */
    CHECK(!is_open(fds[0]) && !is_open(fds[1]));
    OK(ioloop_close(loop));
}


/* What a watch is called for. */

struct noted {
    struct item item;
    unsigned events;
};

static void note(ioloop loop, int fd, unsigned events, void *data) {
    struct noted *noted = data;
    (void)fd;
    count(loop, &noted->item);
    noted->events = events;
}

static void both_directions_in_one_watch(void) {
    ioloop loop = new_loop();
    int fds[2];
    pair(fds);
    struct noted noted = {0};
    ioloop_id watch;
    OK(ioloop_watch(loop, fds[0], IOLOOP_READ | IOLOOP_WRITE, note, &noted, dispose, &watch));
    turn(loop);
    CHECK(is(noted.item, 1, 0) && noted.events == IOLOOP_WRITE);
    CHECK(write(fds[1], "x", 1) == 1);
    turn(loop);
    CHECK(is(noted.item, 2, 0) && noted.events == (IOLOOP_READ | IOLOOP_WRITE));
    OK(ioloop_modify(loop, watch, IOLOOP_READ));
    turn(loop);
    CHECK(is(noted.item, 3, 0) && noted.events == IOLOOP_READ);
    OK(ioloop_modify(loop, watch, 0));
    turn(loop);
    CHECK(is(noted.item, 3, 0));
    REFUSED(IOLOOP_INVALID, ioloop_modify(loop, watch, IOLOOP_HANGUP));
    REFUSED(IOLOOP_INVALID, ioloop_modify(loop, watch, 1u << 16 | IOLOOP_READ));
    OK(ioloop_modify(loop, watch, IOLOOP_WRITE));
    turn(loop);
    CHECK(is(noted.item, 4, 0) && noted.events == IOLOOP_WRITE);
    OK(ioloop_remove(loop, watch));
    CHECK(is(noted.item, 4, 1));
    REFUSED(IOLOOP_GONE, ioloop_modify(loop, watch, IOLOOP_READ));
    OK(ioloop_close(loop));
    close_pair(fds);
}

/* Linux says of a pipe whose writer has gone that it hung up, and not that it is readable. */
static void a_reader_learns_of_a_hangup_by_reading(void) {
    ioloop loop = new_loop();
    int fds[2];
    CHECK(pipe(fds) == 0 && close(fds[1]) == 0);
    struct noted noted = {0};
    ioloop_id watch;
    OK(ioloop_watch(loop, fds[0], IOLOOP_READ, note, &noted, dispose, &watch));
    turn(loop);
    CHECK(noted.item.called == 1 && (noted.events & IOLOOP_READ) && !(noted.events & IOLOOP_WRITE));
    OK(ioloop_modify(loop, watch, IOLOOP_ERROR));
    turn(loop);
    CHECK(noted.item.called == 2 && noted.events == IOLOOP_HANGUP);
    OK(ioloop_modify(loop, watch, 0));
    turn(loop);
    CHECK(noted.item.called == 2);
    OK(ioloop_close(loop));
    CHECK(close(fds[0]) == 0);
}

static void a_peer_that_writes_no_more(void) {
    ioloop loop = new_loop();
    int fds[2];
    pair(fds);
    struct noted noted = {0};
    OK(ioloop_watch(loop, fds[0], IOLOOP_READ_CLOSED, note, &noted, dispose, NULL));
    CHECK(write(fds[1], "x", 1) == 1);
    turn(loop);
    CHECK(is(noted.item, 0, 0));
    CHECK(shutdown(fds[1], SHUT_WR) == 0);
    turn(loop);
    CHECK(is(noted.item, 1, 0) && noted.events == IOLOOP_READ_CLOSED);
    OK(ioloop_close(loop));
    close_pair(fds);
}

static void a_descriptor_has_one_watch_and_its_duplicate_another(void) {
    ioloop loop = new_loop();
    int fds[2];
    pair(fds);
    struct item first = {0}, second = {0};
    OK(ioloop_watch(loop, fds[0], IOLOOP_WRITE, count_ready, &first, dispose, NULL));
    REFUSED(IOLOOP_EXISTS,
            ioloop_watch(loop, fds[0], IOLOOP_READ, count_ready, &second, dispose, NULL));
    CHECK(is(second, 0, 1) && strstr(ioloop_error(), "watch a duplicate") != NULL);
    int duplicate = dup(fds[0]);
    OK(ioloop_watch(loop, duplicate, IOLOOP_WRITE, count_ready, &second, dispose, NULL));
    turn(loop);
    CHECK(is(first, 1, 0) && is(second, 1, 1));
    OK(ioloop_close(loop));
    CHECK(is(first, 1, 1) && is(second, 1, 2));
    close_pair(fds);
    CHECK(close(duplicate) == 0);
}


/* Ends. */

struct rival {
    struct item item;
    ioloop_id own, other;
};

static void remove_both(ioloop loop, int fd, unsigned events, void *data) {
    struct rival *rival = data;
    (void)fd;
    (void)events;
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
    struct rival rivals[2];
    memset(rivals, 0, sizeof rivals);
    for (int i = 0; i < 2; i++) {
        struct rival *rival = &rivals[i];
        OK(ioloop_watch(loop, fds[i], IOLOOP_WRITE, remove_both, rival, dispose, &rival->own));
    }
    rivals[0].other = rivals[1].own;
    rivals[1].other = rivals[0].own;
    OK(ioloop_run(loop)); /* Both are ready in one turn. */
    CHECK(rivals[0].item.called + rivals[1].item.called == 1);
    CHECK(rivals[0].item.disposed == 1 && rivals[1].item.disposed == 1);
    OK(ioloop_close(loop));
    close_pair(fds);
}

static void a_watch_is_removed_whose_number_was_closed(void) {
    ioloop loop = new_loop();
    int fds[2];
    pair(fds);
    struct item item = {0};
    ioloop_id watch;
    OK(ioloop_watch(loop, fds[0], IOLOOP_READ, count_ready, &item, dispose, &watch));
    close_pair(fds);
    OK(ioloop_remove(loop, watch));
    CHECK(is(item, 0, 1));
    REFUSED(IOLOOP_GONE, ioloop_remove(loop, watch));
    OK(ioloop_close(loop));
    REFUSED(IOLOOP_CLOSED, ioloop_remove(loop, watch));
}

static void a_watch_whose_number_is_another_files_cannot_be_modified(void) {
    ioloop loop = new_loop();
    int fds[2], others[2];
    pair(fds);
    pair(others);
    struct item old = {0}, new = {0};
    ioloop_id watch;
    OK(ioloop_watch(loop, fds[0], IOLOOP_WRITE, count_ready, &old, dispose, &watch));
    OK(ioloop_modify(loop, watch, IOLOOP_WRITE));
    CHECK(dup2(others[0], fds[0]) == fds[0]);
    REFUSED(IOLOOP_GONE, ioloop_modify(loop, watch, IOLOOP_WRITE));
    CHECK(is(old, 0, 1));
    OK(ioloop_watch(loop, fds[0], IOLOOP_WRITE, count_ready, &new, dispose, &watch));
    turn(loop);
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
    int fds[2], others[2];
    pair(fds);
    pair(others);
    struct item old = {0}, new = {0};
    ioloop_id watch;
    OK(ioloop_watch(to_close, fds[0], IOLOOP_READ, count_ready, &old, close_loop, NULL));
    /* The number is another file's now, so this ends the watch that it had. */
    CHECK(dup2(others[0], fds[0]) == fds[0]);
    OK(ioloop_watch(to_close, fds[0], IOLOOP_READ, count_ready, &new, dispose, &watch));
    CHECK(is(old, 0, 1) && is(new, 0, 1));
    REFUSED(IOLOOP_CLOSED, ioloop_remove(to_close, watch));
    close_pair(fds);
    close_pair(others);
}

int main(void) {
    int before = next_descriptor();
    an_echo_with_timers();
    both_directions_in_one_watch();
    a_reader_learns_of_a_hangup_by_reading();
    a_peer_that_writes_no_more();
    a_descriptor_has_one_watch_and_its_duplicate_another();
    what_is_removed_in_a_callback_is_not_called_any_more();
    a_watch_is_removed_whose_number_was_closed();
    a_watch_whose_number_is_another_files_cannot_be_modified();
    a_disposal_may_even_close_the_loop_that_is_being_asked();
    CHECK(next_descriptor() == before);
    return 0;
}
