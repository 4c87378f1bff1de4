/* says: invalid operands to binary */
#include "ioloop.h"

int same(ioloop one, ioloop other);

int same(ioloop one, ioloop other) {
#ifdef RIGHT
    return one.number == other.number;
#else
    return one == other;
#endif
}
