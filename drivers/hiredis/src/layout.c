/* What of hiredis lies in structs, as functions: their layout is another one in each version of it. */

#include <hiredis/async.h>

int layout_error(const redisAsyncContext *context) { return context->err; }
const char *layout_error_text(const redisAsyncContext *context) { return context->errstr; }
int layout_descriptor(const redisAsyncContext *context) { return context->c.fd; }

void *layout_data(const redisAsyncContext *context) { return context->ev.data; }

void layout_attach(redisAsyncContext *context, void *data, void (*add_read)(void *), void (*del_read)(void *),
                   void (*add_write)(void *), void (*del_write)(void *), void (*cleanup)(void *)) {
    context->ev.data = data;
    context->ev.addRead = add_read;
    context->ev.delRead = del_read;
    context->ev.addWrite = add_write;
    context->ev.delWrite = del_write;
    context->ev.cleanup = cleanup;
}

int layout_type(const redisReply *reply) { return reply->type; }
long long layout_integer(const redisReply *reply) { return reply->integer; }
const char *layout_bytes(const redisReply *reply) { return reply->str; }
size_t layout_length(const redisReply *reply) { return reply->len; }
size_t layout_elements(const redisReply *reply) { return reply->elements; }
const redisReply *layout_element(const redisReply *reply, size_t index) { return reply->element[index]; }
