/*
 * A TCP server that sends back what it gets: connections with a time-out, writes that have to wait,
 * and an end in order at SIGINT or SIGTERM. SIGUSR1 says how many connections there are.
 *
 *     cc echo.c -o echo $(pkg-config --cflags --libs ioloop)
 *     ./echo [port [seconds of patience]]
 */
#define _GNU_SOURCE
#include <ioloop.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct server {
    uint64_t patience;
    int connections;
};

struct connection {
    struct server *server;
    int fd;
    ioloop_id watch, timer;
    size_t length; /* What is still to be sent back of the buffer. */
    char buffer[4096];
};

static void check(int status, const char *what) {
    if (status == IOLOOP_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, ioloop_error());
    exit(1);
}

/* The disposal of a connection's watch: the one place where a connection ends. */
static void disconnect(void *data) {
    struct connection *connection = data;
    close(connection->fd);
    connection->server->connections--;
    free(connection);
}

static void too_late(ioloop loop, void *data) {
    struct connection *connection = data;
    dprintf(STDOUT_FILENO, "time is over\n");
    ioloop_remove(loop, connection->watch); /* The timer ends with this call. */
}

/* Sends what there is; says whether that is all, or -1 if the peer has gone. */
static int send_back(struct connection *connection) {
    ssize_t sent = send(connection->fd, connection->buffer, connection->length, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    connection->length -= (size_t)sent;
    memmove(connection->buffer, connection->buffer + sent, connection->length);
    return connection->length == 0;
}

/* Reads, and sends back; says whether the connection goes on. */
static int serve(ioloop loop, struct connection *connection, unsigned events) {
    if (connection->length == 0 && events & IOLOOP_READ) {
        ssize_t length = read(connection->fd, connection->buffer, sizeof connection->buffer);
        if (length < 0 && (errno == EAGAIN || errno == EINTR))
            return 1;
        if (length <= 0)
            return 0;
        connection->length = (size_t)length;
    }
    int done = send_back(connection);
    if (done < 0)
        return 0;
    /* Nothing is read before all is sent that was read, so a slow peer slows itself. */
    check(ioloop_modify(loop, connection->watch, done ? IOLOOP_READ : IOLOOP_WRITE), "modify");
    return 1;
}

static void ready(ioloop loop, int fd, unsigned events, void *data) {
    struct connection *connection = data;
    (void)fd;
    if (serve(loop, connection, events)) {
        check(ioloop_reset(loop, connection->timer, connection->server->patience, 0), "reset");
        return;
    }
    ioloop_remove(loop, connection->timer);
    ioloop_remove(loop, connection->watch);
}

static void accept_one(ioloop loop, int fd, unsigned events, void *data) {
    struct server *server = data;
    (void)events;
    int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0)
        return;
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        close(accepted);
        return;
    }
    connection->server = server;
    connection->fd = accepted;
    server->connections++;
    check(ioloop_watch(loop, accepted, IOLOOP_READ, ready, connection, disconnect,
                       &connection->watch),
          "watch");
    check(ioloop_timer(loop, server->patience, 0, too_late, connection, NULL, &connection->timer),
          "timer");
}

static void say(ioloop loop, int signal, void *data) {
    const struct server *server = data;
    (void)loop, (void)signal;
    dprintf(STDOUT_FILENO, "%d connections\n", server->connections);
}

static void end(ioloop loop, int signal, void *data) {
    (void)data;
    dprintf(STDOUT_FILENO, "signal %d: good bye\n", signal);
    ioloop_stop(loop);
}

static int listen_on(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes)
        || bind(fd, (struct sockaddr *)&address, length) || listen(fd, 128)
        || getsockname(fd, (struct sockaddr *)&address, &length)) {
        perror("cannot listen");
        exit(1);
    }
    dprintf(STDOUT_FILENO, "listening on port %d\n", ntohs(address.sin_port));
    return fd;
}

int main(int argc, char **argv) {
    struct server server = {.patience = 60 * IOLOOP_SECOND};
    ioloop loop;
    if (argc > 2)
        server.patience = (uint64_t)(atof(argv[2]) * (double)IOLOOP_SECOND);
    check(ioloop_new("echo", &loop), "new");
    check(ioloop_signal(loop, SIGINT, end, NULL, NULL, NULL), "signal");
    check(ioloop_signal(loop, SIGTERM, end, NULL, NULL, NULL), "signal");
    check(ioloop_signal(loop, SIGUSR1, say, &server, NULL, NULL), "signal");
    int fd = listen_on(argc > 1 ? (uint16_t)atoi(argv[1]) : 0);
    check(ioloop_watch(loop, fd, IOLOOP_READ, accept_one, &server, NULL, NULL), "watch");
    check(ioloop_run(loop), "run");
    check(ioloop_close(loop), "close");
    close(fd);
    return server.connections == 0 ? 0 : 1;
}
