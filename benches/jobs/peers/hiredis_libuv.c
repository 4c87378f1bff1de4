// Commands by hiredis on libuv, by the adapter that comes with it.

#include "job.h"
#include <hiredis/adapters/libuv.h>

static redisAsyncContext *redis;
static uint64_t at_once, to_ask, to_come;
static int in_pipelines;

static void on_reply(redisAsyncContext *context, void *reply, void *unused);

static void ask(uint64_t commands) {
    for (uint64_t i = 0; i < commands && to_ask > 0; i++, to_ask--)
        check(redisAsyncCommand(redis, on_reply, NULL, "INCR n") == REDIS_OK, "redisAsyncCommand");
}

// A client asks again when it has been answered; a pipeline, when all of it has been.
static void on_reply(redisAsyncContext *context, void *reply, void *unused) {
    (void)context, (void)unused;
    check(reply && ((redisReply *)reply)->type == REDIS_REPLY_INTEGER, "a number");
    if (--to_come == 0) return uv_stop(uv_default_loop());
    if (!in_pipelines) ask(1);
    if (in_pipelines && to_come == to_ask) ask(at_once);
}

static void run(uint64_t commands) {
    to_ask = to_come = commands;
    ask(at_once);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}

// clients|pipelines 0 COMMANDS AT_ONCE; the server is in the environment.
int main(int argc, char **argv) {
    check(argc == 5, "arguments");
    uint64_t commands = strtoull(argv[3], NULL, 10);
    in_pipelines = !strcmp(argv[1], "pipelines");
    at_once = strtoull(argv[4], NULL, 10);
    redis = redisAsyncConnectUnix(getenv("JOB_SERVER"));
    check(redis && redis->err == 0, "redisAsyncConnectUnix");
    redisLibuvAttach(redis, uv_default_loop());
    // Once it has connected.
    run(1);
    start();
    run(commands);
    print_job(commands);
    return 0;
}
