// What the peers in C share: arguments, clocks, the descriptors, and the line that a sample prints.
//
// A program is called with a workload, the operations of the warm-up and of the sample, and the workload's parameters.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// As the harness has them: what a user's callback keeps, and the size of a request.
enum { USERS = 32, REQUEST = 64 };

#define SECOND UINT64_C(1000000000)
#define MANY UINT64_MAX

static void check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static uint64_t now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static uint64_t monotonic(void) { return now(CLOCK_MONOTONIC); }

// ---- the sample

static uint64_t started, started_cpu;

static void start(void) {
    started = monotonic();
    started_cpu = now(CLOCK_PROCESS_CPUTIME_ID);
}

static int printing;

static void end(uint64_t operations) {
    double wall = (double)(monotonic() - started);
    double cpu = (double)(now(CLOCK_PROCESS_CPUTIME_ID) - started_cpu);
    if (printing) printf("%f %f\n", wall / (double)operations, cpu / (double)operations);
}

typedef void work(uint64_t operations, const uint64_t *parameters);

struct workload {
    const char *name;
    work *run;
};

static int run(const struct workload *workloads, int count, int argc, char **argv) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    uint64_t parameters[4] = {0};
    check(argc >= 4, "too few arguments");
    for (int i = 4; i < argc && i < 8; i++) parameters[i - 4] = strtoull(argv[i], NULL, 10);
    uint64_t warm_up = strtoull(argv[2], NULL, 10), operations = strtoull(argv[3], NULL, 10);
    for (int i = 0; i < count; i++) {
        if (strcmp(workloads[i].name, argv[1])) continue;
        if (warm_up > 0) workloads[i].run(warm_up, parameters);
        printing = 1;
        workloads[i].run(operations, parameters);
        return 0;
    }
    fprintf(stderr, "there is no %s here\n", argv[1]);
    return 1;
}

// ---- random numbers, those of the harness

static uint64_t state = 1;

static uint64_t below(uint64_t limit) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % limit;
}

// ---- a ring of descriptors

struct link {
    int reader, writer;
};

static struct link *ring(uint64_t links, uint64_t active, int of_eventfds) {
    struct link *ring = calloc(links, sizeof *ring);
    int *writers = calloc(links, sizeof *writers);
    for (uint64_t i = 0; i < links; i++) {
        int ends[2];
        if (of_eventfds) {
            ends[0] = ends[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            check(ends[0] >= 0, "eventfd");
        } else {
            check(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0, "pipe");
        }
        ring[i].reader = ends[0];
        writers[i] = ends[1];
    }
    uint64_t one = 1;
    for (uint64_t i = 0; i < active; i++) check(write(writers[i * links / active], &one, 8) == 8, "write");
    for (uint64_t i = 0; i < links; i++) ring[i].writer = writers[(i + 1) % links];
    free(writers);
    return ring;
}

static void close_ring(struct link *ring, uint64_t links) {
    for (uint64_t i = 0; i < links; i++) {
        if (ring[i].writer != ring[(i + 1) % links].reader) close(ring[i].writer);
    }
    for (uint64_t i = 0; i < links; i++) close(ring[i].reader);
    free(ring);
}

static void pass(const struct link *link) {
    char buffer[64];
    ssize_t n = read(link->reader, buffer, sizeof buffer);
    check(n > 0, "read");
    check(write(link->writer, buffer, (size_t)n) == n, "write");
}

// ---- connections to the clients

static int connection(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    check(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "fcntl");
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "setsockopt");
    return fd;
}

// ---- timers, one after the other, and how late they were

static uint64_t lateness_left, lateness_count, deadline;
static int64_t *late; // below zero where a timer was early

// Called when a timer fires: the deadline of the next, or 0.
static uint64_t next_deadline(void) {
    uint64_t time = monotonic();
    if (deadline) late[lateness_count++] = (int64_t)(time - deadline);
    if (lateness_left == 0) return 0;
    lateness_left--;
    deadline = time + (200 + below(800)) * 1000;
    return deadline;
}

static uint64_t first_deadline(uint64_t operations) {
    late = calloc(operations, sizeof *late);
    lateness_left = operations;
    lateness_count = deadline = 0;
    return next_deadline();
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void end_lateness(void) {
    qsort(late, lateness_count, sizeof *late, ascending);
    if (printing)
        printf("%f %f\n", (double)late[lateness_count * 50 / 100] / 1000,
               (double)late[lateness_count * 99 / 100] / 1000);
    free(late);
}

// ---- the longest of all turns

enum { KEPT = 10 };

static uint64_t last_turn, longest[KEPT];

// What there is a crowd of, as workloads/worst.rs has it; and how many come and go in a turn.
enum { TIMERS, POSTS, WATCHES, TIMEOUTS };
enum { IN_A_TURN = 100 };

// Called once in each turn. The instructions between two calls are counted by its name.
__attribute__((noinline)) static void note_turn(void) {
    uint64_t time = now(CLOCK_THREAD_CPUTIME_ID), length = last_turn ? time - last_turn : 0;
    last_turn = time;
    for (int i = 0; i < KEPT; i++) {
        if (length <= longest[i]) continue;
        uint64_t shorter = longest[i];
        longest[i] = length;
        length = shorter;
    }
}

static void end_worst(void) {
    if (printing) printf("%f %f\n", (double)longest[0] / 1000, (double)longest[KEPT - 1] / 1000);
}

// In microseconds from now: a second, and up to four more.
static uint64_t worst_delay(void) { return 1000000 + below(4000000); }

// The crowd, and how far it has come.
static struct link *crowd_links;
static void **crowd;
static uint64_t crowd_size, crowd_next;
static int crowd_shrinks;

static void open_crowd(uint64_t kind, uint64_t size) {
    crowd = calloc(size, sizeof *crowd);
    crowd_links = kind == WATCHES ? ring(size, 0, 1) : NULL;
    crowd_size = size;
    crowd_next = 0;
    crowd_shrinks = 0;
}

static void close_crowd(void) {
    if (crowd_links) close_ring(crowd_links, crowd_size);
    free(crowd);
}

// Some more watches, or some less in the end. Says whether all are gone.
static int change_watches(void *(*add)(uint64_t), void (*end)(void *)) {
    for (int i = 0; i < IN_A_TURN; i++) {
        if (crowd_shrinks && crowd_next > 0) {
            crowd_next--;
            end(crowd[crowd_next]);
        } else if (!crowd_shrinks && crowd_next < crowd_size) {
            crowd[crowd_next] = add(crowd_next);
            crowd_next++;
        }
    }
    if (crowd_next == crowd_size) crowd_shrinks = 1;
    return crowd_shrinks && crowd_next == 0;
}

// Some time-outs are replaced, the oldest ones first. Says whether all were.
static int change_timeouts(void *(*set)(uint64_t), void (*end)(void *)) {
    for (int i = 0; i < IN_A_TURN && crowd_next < crowd_size; i++, crowd_next++) {
        end(crowd[crowd_next]);
        crowd[crowd_next] = set(crowd_next);
    }
    return crowd_next == crowd_size;
}

// ---- a queue that several threads post to

struct post {
    void (*callback)(void *);
    void *argument;
    struct post *next;
};

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static struct post *queue_first, **queue_last = &queue_first;
static uint64_t posts_left;

static void served(void *unused) {
    (void)unused;
    posts_left--;
}

// Says whether the queue was empty: then the loop has to be woken.
static int enqueue(void (*callback)(void *), void *argument) {
    struct post *post = malloc(sizeof *post);
    *post = (struct post){callback, argument, NULL};
    pthread_mutex_lock(&queue_lock);
    int was_empty = queue_first == NULL;
    *queue_last = post;
    queue_last = &post->next;
    pthread_mutex_unlock(&queue_lock);
    return was_empty;
}

// Takes the whole queue, and calls what was in it.
static void serve_queue(void) {
    pthread_mutex_lock(&queue_lock);
    struct post *post = queue_first;
    queue_first = NULL;
    queue_last = &queue_first;
    pthread_mutex_unlock(&queue_lock);
    while (post) {
        struct post *next = post->next;
        post->callback(post->argument);
        free(post);
        post = next;
    }
}

struct poster {
    uint64_t posts;
    void (*wake)(void);
};

static void *post_all(void *argument) {
    struct poster *poster = argument;
    for (uint64_t i = 0; i < poster->posts; i++)
        if (enqueue(served, NULL)) poster->wake();
    return NULL;
}

// All of them, before the loop runs.
static void post_before(uint64_t operations, void (*wake)(void)) {
    pthread_t id;
    struct poster poster = {operations, wake};
    posts_left = operations;
    pthread_create(&id, NULL, post_all, &poster);
    pthread_join(id, NULL);
}

static void from_threads(uint64_t operations, uint64_t threads, void (*wake)(void), void (*loop)(void)) {
    pthread_t ids[16];
    struct poster poster = {operations / threads, wake};
    check(threads <= 16, "threads");
    posts_left = poster.posts * threads;
    start();
    for (uint64_t i = 0; i < threads; i++) pthread_create(&ids[i], NULL, post_all, &poster);
    loop();
    for (uint64_t i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    end(operations);
}

// ---- a server: time-outs, a period, posts and jobs

enum { TIMEOUT = 10000, PERIOD = 10, HOUR = 3600000, JOB = 100 }; // milliseconds, and requests

static int paced_by_requests;
static uint64_t requests_begun;
static atomic_int posting_is_over;
static pthread_t posting;

// Whether this request runs a job.
static int begin_request(void) { return ++requests_begun % JOB == 0; }

static void job(void (*wake)(void)) {
    if (paced_by_requests && enqueue(served, NULL)) wake();
    volatile uint64_t hash = 1;
    for (uint64_t n = 0; n < 1000; n++) hash = (hash * 31) ^ n;
}

static void *post_by_time(void *argument) {
    void (*wake)(void) = argument;
    while (!posting_is_over) {
        usleep(1000);
        if (enqueue(served, NULL)) wake();
    }
    return NULL;
}

// Returns the period, in milliseconds.
static int start_posting(uint64_t by_requests, void (*wake)(void)) {
    paced_by_requests = by_requests != 0;
    posts_left = MANY;
    if (!paced_by_requests) pthread_create(&posting, NULL, post_by_time, wake);
    return paced_by_requests ? HOUR : PERIOD;
}

static void end_posting(void) {
    posting_is_over = 1;
    if (!paced_by_requests) pthread_join(posting, NULL);
}

// ---- memory

static double allocated;

static void start_memory(void) { allocated = (double)mallinfo2().uordblks; }

static void end_memory(uint64_t operations, uint64_t users) {
    double bytes = (double)mallinfo2().uordblks - allocated;
    printf("%f ", bytes / (double)operations - (double)users);
}
