// What the process keeps of a burst: resident memory and what is allocated, over time.

// Of a library: begins what is counted, or ends all of it.
struct burst {
    void (*fill)(uint64_t);
    void (*drain)(void);
};

// The timers of a burst are due by then, in milliseconds.
enum { DUE = 1500, KEPT_POLLED = 10 };

static double resident(void) {
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    check(file && fscanf(file, "%*u %llu", &pages) == 1, "statm");
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1024;
}

static double in_use(void) {
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd) / 1024;
}

// As the harness has it.
static void measure_kept(uint64_t operations, struct burst burst, void (*idle)(void)) {
    burst.fill(KEPT_POLLED);
    burst.drain();
    double before = resident(), allocated_before = in_use(), values[7];
    burst.fill(operations);
    values[0] = resident() - before;
    burst.drain();
    values[1] = resident() - before;
    idle();
    values[2] = resident() - before;
    malloc_trim(0);
    values[3] = resident() - before;
    burst.fill(operations);
    values[4] = resident() - before;
    burst.drain();
    values[5] = resident() - before;
    values[6] = in_use() - allocated_before;
    for (int i = 0; i < 7; i++) printf("%f ", values[i]);
}

// ---- posts, each with what its user keeps

static uint64_t to_post;

static void free_users(void *users) {
    free(users);
    posts_left--;
}

static void *post_a_burst(void *unused) {
    (void)unused;
    for (uint64_t i = 0; i < to_post; i++) enqueue(free_users, malloc(USERS));
    return NULL;
}

// By another thread, while the loop does not run.
static void fill_queue(uint64_t count) {
    pthread_t thread;
    posts_left = to_post = count;
    check(pthread_create(&thread, NULL, post_a_burst, NULL) == 0, "a thread");
    pthread_join(thread, NULL);
}

// ---- connections

static uint64_t opened;
static int *ours, *theirs;

// Each has sent a request.
static void open_pairs(uint64_t count) {
    static char request[REQUEST];
    ours = calloc(count, sizeof *ours);
    theirs = calloc(count, sizeof *theirs);
    for (opened = 0; opened < count; opened++) {
        int pair[2];
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
        check(write(pair[1], request, REQUEST) == REQUEST, "write");
        ours[opened] = pair[0];
        theirs[opened] = pair[1];
    }
}

static void close_theirs(void) {
    for (uint64_t i = 0; i < opened; i++) close(theirs[i]);
    free(ours);
    free(theirs);
}
