/* The cheap reader: thousands of HTTP connections in one thread, so that what is measured is the server.
 *
 * A lane is one connection and the requests it sends one after the other; the last may be a stream. Tokens are counted
 * by the character `~`; one that goes on `^` and 16 digits carries the CLOCK_MONOTONIC nanoseconds of its birth, and
 * its age is noted. Commands come by stdin, one a line, and are answered by one line of JSON:
 *
 *   load FILE           add lanes and connect those that shall be; FILE as `reader.py` writes it
 *   go                  now is time 0: send what is scheduled, connect what waits for it
 *   wait WHAT N MS      until WHAT >= N: ready, tokens, done, calls, terminals; quiet: no byte for N ms
 *   report | reset | drop | quit
 *
 * `reader blast EVENTS STREAMS` is the other side: it serves streams with one write an event, as fast as it can.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "c/figures.h"
#include "c/lanes.h"
#include "c/blast.h"

/* --- commands */

static int next_to_open;

static void open_more(void) {
    for (; next_to_open < lane_count && opening < MAX_OPENING; next_to_open++) {
        struct lane *l = &lanes[next_to_open];
        if (!l->is_early || l->state != WAITING || l->fd >= 0) continue;
        l->in_opening = 1;
        opening++;
        open_lane(l);
    }
}

static void load(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    char kind[16];
    long a, b, c, d, e;
    if (fscanf(file, "port %d lanes %ld\n", &port, &a) != 2) fail("plan");
    lanes = room(lanes, (size_t)(lane_count + a) * sizeof *lanes);
    struct lane *l = NULL;
    while (fscanf(file, "%15s %ld %ld %ld %ld %ld", kind, &a, &b, &c, &d, &e) == 6) {
        if (!strcmp(kind, "lane")) { /* source, is early, steps */
            l = &lanes[lane_count++];
            memset(l, 0, sizeof *l);
            l->fd = -1;
            l->source = (int)a;
            l->is_early = (int)b;
            l->steps = room(NULL, (size_t)c * sizeof *l->steps);
            early_count += b != 0;
            continue;
        }
        /* at in µs or -1, class, lane it is about or -1, tokens wanted, size */
        struct step s = {!strcmp(kind, "stream"), (int)b, (int)c, a < 0 ? -1 : a * 1000, d, (size_t)e, NULL};
        s.bytes = room(NULL, s.size);
        if (fgetc(file) != '\n' || fread(s.bytes, 1, s.size, file) != s.size) fail("plan");
        l->steps[l->count++] = s;
    }
    fclose(file);
    open_more();
    printf("{\"lanes\":%d}\n", lane_count);
}

static void go(void) {
    gone = now_ns();
    for (int i = 0; i < lane_count; i++) {
        struct lane *l = &lanes[i];
        if (l->state != WAITING || l->next >= l->count) continue;
        if (l->steps[l->next].at < 0) open_lane(l);
        else heap_push(i);
    }
    wake_due();
    printf("{\"go\":%lld}\n", (long long)gone);
}

static void reset(void) {
    tokens = events = terminals = reads = bytes = calls = refused = 0;
    first_sent = last_token = 0;
    ages.count = 0;
    for (int i = 0; i < CLASSES; i++) class_samples[i].count = 0, class_ok[i] = 0;
    for (int i = 0; i < lane_count; i++) lanes[i].first_token = 0, lanes[i].tokens = 0;
    reset_at = now_ns();
    reset_cpu = cpu_s();
    printf("{}\n");
}

static void drop(void) {
    for (int i = 0; i < lane_count; i++) {
        shut(&lanes[i]);
        free(lanes[i].head);
        for (int k = 0; k < lanes[i].count; k++) free(lanes[i].steps[k].bytes);
        free(lanes[i].steps);
    }
    lane_count = heap_size = opening = next_to_open = 0;
    done_count = ready_count = early_count = broken = 0;
    gone = 0;
    reset();
}

static void report(void) {
    struct samples first = {0}, whole = {0}, stop = {0};
    int64_t last_done = 0;
    for (int i = 0; i < lane_count; i++) {
        struct lane *l = &lanes[i];
        if (l->first_token) note(&first, l->first_token - l->started);
        if (l->is_done) { note(&whole, l->done - l->started); if (l->done > last_done) last_done = l->done; }
        for (int k = 0; k < l->next; k++) {
            int of = l->steps[k].of;
            if (of >= 0 && of < lane_count && lanes[of].last_byte && gone)
                note(&stop, lanes[of].last_byte - gone - l->steps[k].at);
        }
    }
    double wall = (now_ns() - reset_at) / 1e9;
    printf("{\"tokens\":%ld,\"events\":%ld,\"terminals\":%ld,\"reads\":%ld,\"bytes\":%ld,\"calls\":%ld,\"refused\":%ld,",
           tokens, events, terminals, reads, bytes, calls, refused);
    printf("\"broken\":%ld,\"done\":%ld,\"ready\":%ld,\"wall_s\":%.6f,\"cpu_s\":%.6f,", broken, done_count, ready_count,
           wall, cpu_s() - reset_cpu);
    printf("\"last_token_ns\":%lld,\"last_byte_ns\":%lld,\"all_done_ms\":%.3f,", (long long)last_token,
           (long long)last_byte, last_done && gone ? (last_done - gone) / 1e6 : 0);
    print_samples("age_ms", &ages);
    printf(",");
    print_samples("first_ms", &first);
    printf(",");
    print_samples("done_ms", &whole);
    printf(",");
    print_samples("stop_ms", &stop);
    printf(",\"classes\":{");
    for (int i = 0, n = 0; i < CLASSES; i++) {
        if (!class_samples[i].count) continue;
        char name[8];
        snprintf(name, sizeof name, "%d", i);
        if (n++) printf(",");
        print_samples(name, &class_samples[i]);
    }
    printf("},\"ok\":{");
    for (int i = 0, n = 0; i < CLASSES; i++)
        if (class_ok[i]) printf("%s\"%d\":%ld", n++ ? "," : "", i, class_ok[i]);
    printf("}}\n");
    free(first.at); free(whole.at); free(stop.at);
}

static char wait_for[16];
static long wait_count;
static int64_t wait_until;

static int is_reached(int64_t now) {
    switch (wait_for[0]) {
    case 'r': return ready_count >= early_count;
    case 't': return (wait_for[1] == 'o' ? tokens : terminals) >= wait_count;
    case 'd': return done_count + broken >= wait_count;
    case 'c': return calls >= wait_count;
    default: return now - last_byte >= wait_count * 1000000;
    }
}

static void check_wait(void) {
    if (!wait_for[0]) return;
    int64_t now = now_ns();
    int reached = is_reached(now);
    if (!reached && now < wait_until) return;
    printf("{\"reached\":%s,\"at\":%lld}\n", reached ? "true" : "false", (long long)now);
    fflush(stdout);
    wait_for[0] = 0;
}

static void obey(char *line) {
    long timeout_ms;
    if (!strncmp(line, "load ", 5)) load(line + 5);
    else if (!strcmp(line, "go")) go();
    else if (!strcmp(line, "reset")) reset();
    else if (!strcmp(line, "drop")) drop();
    else if (!strcmp(line, "report")) report();
    else if (sscanf(line, "wait %15s %ld %ld", wait_for, &wait_count, &timeout_ms) == 3)
        wait_until = now_ns() + timeout_ms * 1000000;
    else exit(strcmp(line, "quit") ? 1 : 0);
    fflush(stdout);
}

static void read_commands(void) {
    static char line[4096];
    static size_t size;
    ssize_t n = read(0, line + size, sizeof line - 1 - size);
    if (n <= 0) exit(0); /* who started us is gone */
    size += (size_t)n;
    line[size] = 0;
    for (char *end; (end = strchr(line, '\n'));) {
        *end = 0;
        obey(line);
        size -= (size_t)(end + 1 - line);
        memmove(line, end + 1, size + 1);
    }
}

static _Noreturn void read_lanes(void) {
    struct epoll_event found[512], e = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &e);
    e.data.u64 = UINT64_MAX - 1;
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &e);
    reset_at = now_ns();
    for (;;) {
        int n = epoll_wait(poller, found, 512, wait_for[0] ? 5 : 1000);
        int has_command = 0;
        for (int i = 0; i < n; i++) {
            uint64_t which = found[i].data.u64;
            if (which == UINT64_MAX) has_command = 1;
            else if (which == UINT64_MAX - 1) {
                uint64_t times;
                if (read(timer, &times, sizeof times) > 0) wake_due();
            } else if (which < (uint64_t)lane_count && lanes[which].fd >= 0) handle(&lanes[which], found[i].events);
        }
        open_more();
        check_wait();
        if (has_command) read_commands(); /* last: it may move or drop the lanes */
    }
}

int main(int count, char **words) {
    if (count == 4 && !strcmp(words[1], "blast")) return blast(atoi(words[2]), atoi(words[3]));
    read_lanes();
}
