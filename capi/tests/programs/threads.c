/* Other threads, and processes. */
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>

enum { POSTS = 1000 };

struct post {
    struct item item;
    int number;
};

static ioloop posted_to;
static int arrived;

static void arrive(ioloop loop, void *data) {
    struct post *post = data;
    CHECK(loop.number == posted_to.number && post->number == arrived++);
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

static void in_a_thread(void *(*body)(void *), void *data) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, data) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void posts_of_another_thread_arrive_in_order(void) {
    struct post *posts = calloc(POSTS, sizeof *posts);
    pthread_t thread;
    posted_to = new_loop();
    CHECK(posts && pthread_create(&thread, NULL, post_all, posts) == 0);
    OK(ioloop_run(posted_to));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(arrived == POSTS);
    for (int i = 0; i < POSTS; i++)
        CHECK(is(posts[i].item, 1, 1));
    free(posts);
    OK(ioloop_close(posted_to));
    struct item late = {0};
    REFUSED(IOLOOP_CLOSED, ioloop_post(posted_to, count, &late, dispose));
    REFUSED(IOLOOP_CLOSED, ioloop_stop(posted_to));
    CHECK(is(late, 0, 1));
}

static void ignore_signal(ioloop loop, int signal, void *data) {
    (void)signal;
    count(loop, data);
}

static int stay_awake(ioloop loop, void *data) {
    count(loop, data);
    return 1;
}

static void *use_from_elsewhere(void *data) {
    ioloop loop = *(ioloop *)data;
    struct item item = {0};
    ioloop_id id = {1};
    unsigned turned;
    int fd;
    int64_t timeout;
    CHECK(strlen(ioloop_error()) == 0); /* Nothing was refused on this thread yet. */
    REFUSED(IOLOOP_THREAD, ioloop_watch(loop, 0, IOLOOP_READ, count_ready, &item, dispose, NULL));
    REFUSED(IOLOOP_THREAD, ioloop_timer(loop, 0, 0, count, &item, dispose, NULL));
    REFUSED(IOLOOP_THREAD, ioloop_signal(loop, 10, ignore_signal, &item, dispose, NULL));
    REFUSED(IOLOOP_THREAD, ioloop_report(loop, NULL, &item, dispose));
    REFUSED(IOLOOP_THREAD, ioloop_after_wake(loop, count, &item, dispose, NULL));
    REFUSED(IOLOOP_THREAD, ioloop_before_sleep(loop, stay_awake, &item, dispose, NULL));
    CHECK(is(item, 0, 6));
    REFUSED(IOLOOP_THREAD, ioloop_remove(loop, id));
    REFUSED(IOLOOP_THREAD, ioloop_modify(loop, id, 0));
    REFUSED(IOLOOP_THREAD, ioloop_reset(loop, id, 0, 0));
    REFUSED(IOLOOP_THREAD, ioloop_report_slow(loop, 1));
    REFUSED(IOLOOP_THREAD, ioloop_report_spin(loop, 1));
    REFUSED(IOLOOP_THREAD, ioloop_run(loop));
    REFUSED(IOLOOP_THREAD, ioloop_turn(loop, 0, &turned));
    REFUSED(IOLOOP_THREAD, ioloop_descriptor(loop, &fd));
    REFUSED(IOLOOP_THREAD, ioloop_timeout(loop, &timeout));
    REFUSED(IOLOOP_THREAD, ioloop_close(loop));
    return NULL;
}

static void a_loop_is_used_from_its_thread_only(void) {
    ioloop loop = new_loop();
    in_a_thread(use_from_elsewhere, &loop);
    OK(ioloop_close(loop));
}

struct thread {
    struct item items[5], last;
    int fds[2];
};

static ioloop left_open;

static void dispose_and_ask_again(void *data) {
    static struct item refused;
    dispose(data);
    int before = refused.disposed;
    REFUSED(IOLOOP_CLOSED, ioloop_timer(left_open, 0, 0, count, &refused, dispose, NULL));
    REFUSED(IOLOOP_CLOSED, ioloop_post(left_open, count, &refused, dispose));
    CHECK(is(refused, 0, before + 2));
}

static void dispose_at_the_end(void *data) {
    ioloop anew;
    dispose(data);
    REFUSED(IOLOOP_THREAD, ioloop_new(NULL, &anew));
}

static void *leave_a_loop_open(void *data) {
    struct thread *thread = data;
    struct item *items = thread->items;
    ioloop loop = left_open = new_loop();
    OK(ioloop_report(loop, NULL, NULL, NULL)); /* Nobody has ever driven it, which it would tell. */
    OK(ioloop_watch(loop, thread->fds[0], IOLOOP_READ, count_ready, items++, dispose_and_ask_again,
                    NULL));
    OK(ioloop_watch(loop, thread->fds[1], IOLOOP_WRITE, count_ready, items++, dispose_and_ask_again,
                    NULL));
    OK(ioloop_timer(loop, 0, 0, count, items++, dispose_and_ask_again, NULL));
    OK(ioloop_signal(loop, 10, ignore_signal, items++, dispose_and_ask_again, NULL));
    OK(ioloop_post(loop, count, items++, dispose_and_ask_again));
    OK(ioloop_timer(loop, 0, 0, count, &thread->last, dispose_at_the_end, NULL));
    return NULL;
}

static void a_loop_that_is_not_closed_is_when_its_thread_ends(void) {
    struct thread data;
    memset(&data, 0, sizeof data);
    pair(data.fds);
    in_a_thread(leave_a_loop_open, &data);
    for (int i = 0; i < 5; i++)
        CHECK(is(data.items[i], 0, 1));
    CHECK(is(data.last, 0, 1));
    REFUSED(IOLOOP_CLOSED, ioloop_stop(left_open));
    close_pair(data.fds);
}

static void use_after_fork(ioloop loop, int report) {
    REFUSED(IOLOOP_FORKED, ioloop_run(loop));
    REFUSED(IOLOOP_FORKED, ioloop_turn(loop, 0, NULL));
    ioloop own = new_loop();
    OK(ioloop_post(own, stop, NULL, NULL));
    OK(ioloop_run(own));
    OK(ioloop_close(own));
    CHECK(write(report, "x", 1) == 1);
    _exit(0);
}

static void a_forked_child_has_none_of_its_parents_loops(void) {
    ioloop loop = new_loop();
    int fds[2];
    char byte;
    pair(fds);
    CHECK(fcntl(fds[0], F_SETFL, 0) == 0);
    pid_t child = fork();
    CHECK(child != -1);
    if (child == 0)
        use_after_fork(loop, fds[1]);
    CHECK(close(fds[1]) == 0);
    /* The byte says that the child came to its end. */
    CHECK(read(fds[0], &byte, 1) == 1 && waitpid(child, NULL, 0) == child);
    OK(ioloop_post(loop, stop, NULL, NULL));
    OK(ioloop_run(loop));
    OK(ioloop_close(loop));
    CHECK(close(fds[0]) == 0);
}

int main(void) {
    int before = next_descriptor();
    posts_of_another_thread_arrive_in_order();
    a_loop_is_used_from_its_thread_only();
    a_loop_that_is_not_closed_is_when_its_thread_ends();
    a_forked_child_has_none_of_its_parents_loops();
    CHECK(next_descriptor() == before);
    return 0;
}
