/* The floor under every round trip: one message to a process that waits in epoll_wait and back, over
 * a Unix stream socket. Prints the median and the 99th percentile in nanoseconds. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 20000, SIZE = 100 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void echo(int fd)
{
    char buffer[SIZE];
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll");
    while (epoll_wait(epoll, &event, 1, -1) == 1) {
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n <= 0)
            exit(0);
        if (write(fd, buffer, n) != n)
            die("write");
    }
    die("epoll_wait");
}

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    static long long times[ROUNDS];
    char buffer[SIZE] = {0};
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        die("socketpair");
    if (fork() == 0) {
        close(fds[0]);
        echo(fds[1]);
    }
    close(fds[1]);
    for (int i = 0; i < ROUNDS; i++) {
        long long start = now();
        if (write(fds[0], buffer, SIZE) != SIZE || read(fds[0], buffer, SIZE) != SIZE)
            die("round trip");
        times[i] = now() - start;
    }
    close(fds[0]);
    wait(NULL);
    qsort(times, ROUNDS, sizeof times[0], compare);
    printf("%lld %lld\n", times[ROUNDS / 2], times[ROUNDS / 100 * 99]);
    return 0;
}
