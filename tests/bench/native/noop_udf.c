/* A loadable function that does nothing: the floor under every call of one. */

#include <string.h>

typedef struct {
    char maybe_null;
    unsigned int decimals;
    unsigned long max_length;
    char *ptr;
    char const_item;
    void *extension;
} UDF_INIT;

char noop_init(UDF_INIT *init, void *args, char *message)
{
    (void)args, (void)message;
    init->const_item = 0;
    return 0;
}

void noop_deinit(UDF_INIT *init) { (void)init; }

long long noop(UDF_INIT *init, void *args, unsigned char *is_null, unsigned char *error)
{
    (void)init, (void)args, (void)is_null, (void)error;
    return 1;
}
