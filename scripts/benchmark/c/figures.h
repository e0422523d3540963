/* Time, memory, and the latencies that are kept to be sorted. */
#pragma once

enum { BUFFER = 1 << 18 };

struct samples { uint32_t *at; size_t count, room; };

static char buffer[BUFFER];

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void fail(const char *why) { fprintf(stderr, "reader: %s: %s\n", why, strerror(errno)); exit(1); }

static void *room(void *old, size_t size) {
    void *made = realloc(old, size ? size : 1);
    if (!made) fail("memory");
    return made;
}

/* In microseconds times ten, so that a figure below a millisecond has digits. */
static void note(struct samples *s, int64_t ns) {
    if (s->count == s->room) s->at = room(s->at, (s->room = s->room ? 2 * s->room : 4096) * sizeof *s->at);
    int64_t tenth = ns / 100;
    s->at[s->count++] = tenth < 0 ? 0 : tenth > UINT32_MAX ? UINT32_MAX : (uint32_t)tenth;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void print_samples(const char *name, struct samples *s) {
    qsort(s->at, s->count, sizeof *s->at, by_size);
    double at[4] = {0.5, 0.9, 0.99, 1};
    printf("\"%s\":{\"n\":%zu", name, s->count);
    for (int i = 0; i < 4; i++) {
        size_t index = s->count ? (size_t)(at[i] * (s->count - 1) + 0.5) : 0;
        printf(",\"%s\":%.4f", i == 3 ? "max" : i == 2 ? "p99" : i ? "p90" : "p50", s->count ? s->at[index] / 1e4 : 0);
    }
    printf("}");
}

