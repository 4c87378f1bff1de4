// Queries by libpq as its manual has them: a thread for each connection, which waits for each answer.

#include "job.h"
#include <libpq-fe.h>
#include <pthread.h>
#include <unistd.h>

struct client {
    PGconn *connection;
    uint64_t queries;
};

static pthread_barrier_t done;

static void expect(PGconn *connection, PGresult *result, ExecStatusType status) {
    if (PQresultStatus(result) == status) return;
    fprintf(stderr, "%s", PQerrorMessage(connection));
    exit(1);
}

static void *ask(void *argument) {
    struct client *client = argument;
    for (uint64_t n = 0; n < client->queries; n++) {
        char number[24];
        const char *values[1] = {number};
        snprintf(number, sizeof number, "%llu", (unsigned long long)n);
        PGresult *result = PQexecPrepared(client->connection, "next", 1, values, NULL, NULL, 0);
        expect(client->connection, result, PGRES_TUPLES_OK);
        check(strtoull(PQgetvalue(result, 0, 0), NULL, 10) == n + 1, "an answer");
        PQclear(result);
    }
    pthread_barrier_wait(&done);
    // Until the process ends: the threads are counted.
    pause();
    return NULL;
}

// queries 0 REQUESTS AT_ONCE; the server is in the environment.
int main(int argc, char **argv) {
    check(argc == 5, "arguments");
    uint64_t requests = strtoull(argv[3], NULL, 10), at_once = strtoull(argv[4], NULL, 10);
    struct client *clients = calloc(at_once, sizeof *clients);
    for (uint64_t i = 0; i < at_once; i++) {
        PGconn *connection = clients[i].connection = PQconnectdb(getenv("JOB_SERVER"));
        PGresult *result = PQprepare(connection, "next", "SELECT $1::int8 + 1", 0, NULL);
        expect(connection, result, PGRES_COMMAND_OK);
        PQclear(result);
        clients[i].queries = requests / at_once;
    }
    pthread_barrier_init(&done, NULL, (unsigned)at_once + 1);
    start();
    for (uint64_t i = 0; i < at_once; i++) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, ask, &clients[i]) == 0, "a thread");
    }
    pthread_barrier_wait(&done);
    print_job(requests);
    return 0;
}
