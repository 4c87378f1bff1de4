/* What of hiredis lies in structs, as functions: their layout is another one in each version of it. */

#include <hiredis/hiredis.h>

int layout_knows_resp3(void) { return HIREDIS_MAJOR >= 1; }

int layout_error(const redisContext *context) { return context->err; }
const char *layout_error_text(const redisContext *context) { return context->errstr; }
int layout_descriptor(const redisContext *context) { return context->fd; }

int layout_type(const redisReply *reply) { return reply->type; }
long long layout_integer(const redisReply *reply) { return reply->integer; }
const char *layout_bytes(const redisReply *reply) { return reply->str; }
size_t layout_length(const redisReply *reply) { return reply->len; }
size_t layout_elements(const redisReply *reply) { return reply->elements; }
const redisReply *layout_element(const redisReply *reply, size_t index) { return reply->element[index]; }
