/* One connection after the other request: its states, its time, and what is counted of what it gets. */
#pragma once

enum { CLASSES = 16, HEAD_MAX = 8192, MAX_OPENING = 256, SOURCES = 16 };
enum state { WAITING, CONNECTING, SENDING, HEADING, BODY, STREAMING, OVER };

struct step { int is_stream, class, of; int64_t at; long wanted; size_t size; char *bytes; };

struct lane {
    int fd, source, is_early, was_ready, is_done, is_bad, in_opening;
    enum state state;
    struct step *steps;
    int count, next;
    size_t sent;
    char *head;
    size_t head_size;
    long left;            /* bytes of a call's body; -1: chunked, until its last chunk */
    char tail[8];         /* last bytes of a chunked body */
    int status;
    int64_t started, asked, first_token, last_byte, done;
    long tokens;
    int stamp;            /* 0: looking for `~`; 1: behind it; 2..17: digits */
    int64_t born;
    int word[2];          /* how much of each marker the last bytes were */
};

static struct lane *lanes;
static int lane_count, timer, poller, opening;
static long tokens, events, terminals, reads, bytes, calls, refused, broken, done_count, ready_count, early_count;
static int64_t gone, last_byte, first_sent, last_token, reset_at;
static double reset_cpu;
static struct samples ages, class_samples[CLASSES];
static long class_ok[CLASSES];
static int port;
static const char *const MARKERS[2] = {"data: ", "RUN_FINISHED"};

/* --- lanes that wait for their time: a heap */

static int *heap, heap_size;

static int64_t due(int index) { return gone + lanes[index].steps[lanes[index].next].at; }

static void heap_push(int index) {
    heap = room(heap, (heap_size + 1) * sizeof *heap);
    int i = heap_size++;
    for (; i && due(heap[(i - 1) / 2]) > due(index); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = index;
}

static int heap_pop(void) {
    int top = heap[0], last = heap[--heap_size], i = 0;
    for (int child; (child = 2 * i + 1) < heap_size; i = child) {
        if (child + 1 < heap_size && due(heap[child + 1]) < due(heap[child])) child++;
        if (due(last) <= due(heap[child])) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

static void arm(void) {
    struct itimerspec when = {{0, 0}, {0, 0}};
    if (heap_size) {
        int64_t at = due(heap[0]);
        if (at < 1) at = 1;
        when.it_value.tv_sec = at / 1000000000;
        when.it_value.tv_nsec = at % 1000000000;
    }
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* --- one lane */

static void proceed(struct lane *l);

static void settle(struct lane *l) {
    if (l->is_early && !l->was_ready) { l->was_ready = 1; ready_count++; }
    if (l->in_opening) { l->in_opening = 0; opening--; }
}

static void finish(struct lane *l, int64_t now) {
    if (!l->is_done) { l->is_done = 1; l->done = now; done_count++; }
}

static void shut(struct lane *l) {
    if (l->fd < 0) return;
    struct linger hard = {1, 0};
    setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(l->fd);
    l->fd = -1;
}

static void break_lane(struct lane *l) {
    shut(l);
    settle(l);
    if (l->state != OVER) { l->is_bad = 1; broken++; }
    l->state = OVER;
}

static void watch(struct lane *l, uint32_t what, int op) {
    struct epoll_event e = {.events = what, .data.u64 = (uint64_t)(l - lanes)};
    if (epoll_ctl(poller, op, l->fd, &e)) fail("epoll");
}

static void open_lane(struct lane *l) {
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) fail("socket (ulimit -n?)");
    int one = 1;
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(l->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
    from.sin_addr.s_addr = htonl(0x7f000002 + l->source % SOURCES);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(l->fd, (struct sockaddr *)&from, sizeof from)) fail("bind");
    if (!l->started) l->started = now_ns();
    l->state = CONNECTING;
    int failed = connect(l->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS;
    watch(l, EPOLLOUT, EPOLL_CTL_ADD);
    if (failed) break_lane(l);
}

static void send_step(struct lane *l) {
    struct step *s = &l->steps[l->next];
    if (!l->sent) {
        /* From when it should have been sent: a late request has waited too. */
        int64_t now = now_ns();
        l->asked = s->at >= 0 ? due((int)(l - lanes)) : now;
        if (!first_sent) first_sent = now;
    }
    ssize_t n = send(l->fd, s->bytes + l->sent, s->size - l->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) { break_lane(l); return; }
    l->sent += n > 0 ? (size_t)n : 0;
    l->state = l->sent < s->size ? SENDING : HEADING;
    watch(l, l->state == SENDING ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
}

/* Send the next request, or wait for its time. */
static void proceed(struct lane *l) {
    l->sent = l->head_size = 0;
    if (l->next == l->count) {
        settle(l);
        finish(l, now_ns());
        l->state = OVER;
        shut(l);
        return;
    }
    int64_t at = l->steps[l->next].at;
    if (at >= 0 && (!gone || due((int)(l - lanes)) > now_ns())) {
        settle(l);
        l->state = WAITING;
        if (l->fd >= 0) watch(l, EPOLLIN, EPOLL_CTL_MOD);
        if (gone) { heap_push((int)(l - lanes)); arm(); }
        return;
    }
    if (l->fd < 0) open_lane(l);
    else send_step(l);
}

static void wake_due(void) {
    while (heap_size && due(heap[0]) <= now_ns()) {
        struct lane *l = &lanes[heap_pop()];
        if (l->state != WAITING) continue;
        if (l->fd < 0) open_lane(l);
        else send_step(l);
    }
    arm();
}

static void answered(struct lane *l) {
    struct step *s = &l->steps[l->next];
    int64_t now = now_ns();
    calls++;
    note(&class_samples[s->class], now - l->asked);
    if (l->status >= 200 && l->status < 300) class_ok[s->class]++;
    else refused++;
    l->next++;
    proceed(l);
}

static void count_token(struct lane *l, int64_t now) {
    if (!l->first_token) l->first_token = now;
    l->tokens++;
    tokens++;
    last_token = now;
    struct step *s = &l->steps[l->next];
    if (s->wanted && l->tokens >= s->wanted) finish(l, now);
}

/* Count what stands in a piece of a stream; a token may stand across two pieces. */
static void scan(struct lane *l, const char *piece, size_t size, int64_t now) {
    const char *at = piece, *end = piece + size;
    while (at < end) {
        if (!l->stamp) {
            if (!(at = memchr(at, '~', end - at))) break;
            at++;
            l->stamp = 1;
            count_token(l, now);
        } else if (l->stamp == 1) {
            l->stamp = *at == '^' ? 2 : 0;
            l->born = 0;
            at += l->stamp == 2;
        } else {
            l->born = l->born * 10 + (*at++ - '0');
            if (++l->stamp == 18) { note(&ages, now - l->born); l->stamp = 0; }
        }
    }
}

static long find(struct lane *l, int which, const char *piece, size_t size) {
    const char *word = MARKERS[which];
    int length = (int)strlen(word), have = l->word[which];
    long found = 0;
    const char *at = piece, *end = piece + size;
    while (at < end) {
        if (!have) {
            if (!(at = memchr(at, word[0], end - at))) break;
            have = 1;
            at++;
        } else if (*at == word[have]) {
            at++;
            if (++have == length) { found++; have = 0; }
        } else have = 0;
    }
    l->word[which] = have;
    return found;
}

static void take_stream(struct lane *l, const char *piece, size_t size, int64_t now) {
    l->last_byte = last_byte = now;
    bytes += (long)size;
    scan(l, piece, size, now);
    events += find(l, 0, piece, size);
    terminals += find(l, 1, piece, size);
}

static void take_body(struct lane *l, const char *piece, size_t size) {
    bytes += (long)size;
    if (l->left >= 0) {
        l->left -= (long)size;
        if (l->left <= 0) answered(l);
        return;
    }
    char joined[16];
    size_t kept = size < 5 ? size : 5;
    memcpy(joined, l->tail, 5);
    memcpy(joined + 5, piece + size - kept, kept);
    memcpy(l->tail, joined + kept, 5);
    if (!memcmp(l->tail, "0\r\n\r\n", 5)) answered(l);
}

static void take_head(struct lane *l, const char *piece, size_t size, int64_t now) {
    size_t fits = HEAD_MAX - l->head_size < size ? HEAD_MAX - l->head_size : size;
    if (!l->head) l->head = room(NULL, HEAD_MAX + 1);
    memcpy(l->head + l->head_size, piece, fits);
    l->head[l->head_size + fits] = 0;
    char *end = memmem(l->head, l->head_size + fits, "\r\n\r\n", 4);
    if (!end) {
        l->head_size += fits;
        if (l->head_size == HEAD_MAX) break_lane(l);
        return;
    }
    size_t head = (size_t)(end + 4 - l->head), rest = size - (head - l->head_size);
    const char *body = piece + size - rest;
    end[2] = 0;
    l->status = atoi(l->head + 9);
    char *length = strcasestr(l->head, "\r\ncontent-length:");
    l->left = length ? atol(length + 17) : strcasestr(l->head, "\r\ntransfer-encoding:") ? -1 : 0;
    free(l->head);
    l->head = NULL;
    l->head_size = 0;
    bytes += (long)head;
    struct step *s = &l->steps[l->next];
    if (!s->is_stream || l->status != 200) {
        l->state = BODY;
        memset(l->tail, 0, sizeof l->tail);
        if (l->left == 0) answered(l);
        else if (rest) take_body(l, body, rest);
        return;
    }
    l->state = STREAMING;
    note(&class_samples[s->class], now - l->asked);
    class_ok[s->class]++;
    settle(l);
    if (!s->wanted) finish(l, now);
    if (rest) take_stream(l, body, rest, now);
}

static void take(struct lane *l) {
    ssize_t n = recv(l->fd, buffer, BUFFER, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        if (l->state == WAITING) shut(l); /* an idle connection that the server closed: opened again when needed */
        else if (l->state == STREAMING && n == 0) { finish(l, now_ns()); l->state = OVER; shut(l); }
        else break_lane(l);
        return;
    }
    int64_t now = now_ns();
    reads++;
    if (l->state == STREAMING) take_stream(l, buffer, (size_t)n, now);
    else if (l->state == HEADING) take_head(l, buffer, (size_t)n, now);
    else if (l->state == BODY) take_body(l, buffer, (size_t)n);
}

static void handle(struct lane *l, uint32_t what) {
    if (l->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) { break_lane(l); return; }
        if (what & EPOLLOUT) { watch(l, EPOLLIN, EPOLL_CTL_MOD); proceed(l); }
    } else if (l->state == SENDING && what & EPOLLOUT) send_step(l);
    else if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) take(l);
}

