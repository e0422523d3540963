/* The other side of a calibration: streams that are served as fast as they can be. */
#pragma once

static int blast(int events_each, int streams) {
    static const char head[] = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    char frame[256];
    const char *text = "data: {\"type\":\"TEXT_MESSAGE_CONTENT\",\"messageId\":\"01890000-0000-7000-8000-000000000000\","
                       "\"delta\":\" word~\",\"timestamp\":1700000000000}\n\n";
    int size = snprintf(frame, sizeof frame, "%zx\r\n%s\r\n", strlen(text), text);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM, 0), *peers = room(NULL, (size_t)streams * sizeof *peers);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4096)) fail("listen");
    getsockname(listener, (struct sockaddr *)&here, &length);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    for (int i = 0; i < streams; i++) {
        int one = 1;
        if ((peers[i] = accept(listener, NULL, NULL)) < 0) fail("accept");
        setsockopt(peers[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        while (read(peers[i], buffer, BUFFER) < 0 && errno == EINTR) {}
        if (write(peers[i], head, sizeof head - 1) < 0) fail("write");
    }
    if (read(0, buffer, 1) < 1) return 0; /* a line: begin */
    for (int k = 0; k < events_each; k++)
        for (int i = 0; i < streams; i++)
            if (write(peers[i], frame, (size_t)size) != size) fail("write");
    printf("{\"cpu_s\":%.6f}\n", cpu_s());
    fflush(stdout);
    while (read(0, buffer, BUFFER) > 0) {}
    return 0;
}

