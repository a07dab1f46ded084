#include "tests/support/port.h"

#include <arpa/inet.h>
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    FIRST = 10000,
    COUNT = 22000, // Linux begins to give out ports at 32768: ip(7), ip_local_port_range
    TRIES = 1000,
};

static bool binds(int type, int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return bound;
}

int test_port(void)
{
    // From the kernel, because tests that run side by side may not draw the same ports.
    for (int i = 0; i < TRIES; i++) {
        unsigned random;
        ck_assert_int_eq(getrandom(&random, sizeof random, 0), sizeof random);
        int port = FIRST + (int)(random % COUNT);
        if (binds(SOCK_STREAM, port) && binds(SOCK_DGRAM, port))
            return port;
    }
    ck_abort_msg("no free port from %d to %d", FIRST, FIRST + COUNT - 1);
    return 0;
}
