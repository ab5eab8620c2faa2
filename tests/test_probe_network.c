#include "test.h"

#include "probes/network.h"
#include "probes/socket.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the protocol -------------------------------------------------------------------------------
 */

static void headers_survive_packing(void **state)
{
    struct kvs_net_msg msg = {KVS_NET_READ, 77, 4096, 65536}, back;
    uint8_t bytes[KVS_NET_HEADER];
    (void)state;
    kvs_net_pack(&msg, bytes);
    assert_memory_equal(bytes, "KVSP\1\0\2\0", 8);
    assert_int_equal(kvs_net_parse(bytes, &back, NULL), KVS_OK);
    assert_true(back.op == msg.op && back.id == 77 && back.offset == 4096 && back.n_byte == 65536);
}

static void bad_headers_are_refused(void **state)
{
    static const struct {
        struct kvs_net_msg msg;
        const char *says;
    } cases[] = {
        {{KVS_NET_READ, 0, 0, 0}, "outside"},
        {{KVS_NET_READ, 0, KVS_NET_BUFFER, 1}, "outside"},
        {{KVS_NET_READ, 0, KVS_NET_BUFFER - 7, 8}, "outside"},
        {{KVS_NET_READ, 0, UINT64_MAX, 8}, "outside"},
        {{KVS_NET_READ, 0, 0, UINT64_MAX}, "outside"},
        {{KVS_NET_ERROR, 0, 0, KVS_NET_TEXT_MAX + 1}, "outside"},
        {{(enum kvs_net_op)6, 0, 0, 0}, "no message has number 6"},
        {{(enum kvs_net_op)0, 0, 0, 0}, "no message has number 0"},
    };
    uint8_t bytes[KVS_NET_HEADER];
    struct kvs_net_msg back;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {KVS_OK, ""};
        kvs_net_pack(&cases[i].msg, bytes);
        assert_int_not_equal(kvs_net_parse(bytes, &back, &err), KVS_OK);
        assert_non_null(strstr(err.msg, cases[i].says));
    }
    struct kvs_err err = {KVS_OK, ""};
    bytes[4] = 9;
    assert_int_equal(kvs_net_parse(bytes, &back, &err), KVS_ERR_PARSE);
    assert_string_equal(err.msg, "the peer speaks version 9 of the protocol, we 1");
}

/* --- a server and its clients -------------------------------------------------------------------
 */

static struct kvs_server *start(void)
{
    struct kvs_server *server;
    struct kvs_err err = {KVS_OK, ""};
    if (kvs_server_start(NULL, 0, &server, &err))
        fail_msg("%s", err.msg);
    return server;
}

static int raw_connect(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static enum kvs_code read_some(struct kvs_net *net, uint64_t size, uint64_t depth,
                               struct kvs_err *err)
{
    static struct kvs_sample sample;
    struct kvs_points points = {0, 0, NULL};
    struct kvs_point *p = kvs_points_add(&points, "network.read", "127.0.0.1");
    memset(&sample, 0, sizeof sample);
    kvs_hist_init(&sample.lat_ns);
    p->size_bytes = size;
    p->depth = depth;
    enum kvs_code code = kvs_net_run(net, p, 0.01, &sample, err);
    if (!code) {
        assert_true(sample.ops >= 2 && sample.bytes == sample.ops * size);
        assert_int_equal(sample.lat_ns.n, sample.ops);
    }
    kvs_points_free(&points);
    return code;
}

static struct kvs_net *open_waiting(enum kvs_net_wait wait, const char *peer, uint16_t port,
                                    const char *transport, double peer_s, struct kvs_err *err)
{
    struct kvs_net_config config = {
        .peer = peer, .port = port, .transport = transport, .wait = wait, .peer_s = peer_s};
    struct kvs_net *net;
    return kvs_net_open(&config, &net, err) ? NULL : net;
}

static struct kvs_net *open_net(const char *peer, uint16_t port, const char *transport,
                                double peer_s, struct kvs_err *err)
{
    return open_waiting(KVS_WAIT_BLOCK, peer, port, transport, peer_s, err);
}

static void every_transport_reads_what_the_server_holds(void **state)
{
    static const char *const transports[] = {"tcp", "tcp;ofi_rxm", "shm"};
    (void)state;
    unsigned n_done = 0;
    for (int i = 0; i < 6; i++) { /* asleep and asking */
        struct kvs_err err = {KVS_OK, ""};
        enum kvs_net_wait wait = i < 3 ? KVS_WAIT_BLOCK : KVS_WAIT_POLL;
        struct kvs_net *net = open_waiting(wait, NULL, 0, transports[i % 3], 0, &err);
        if (!net && err.code == KVS_ERR_ABSENT) {
            print_message("# skip: %s\n", err.msg);
            continue;
        }
        if (!net)
            fail_msg("%s: %s", transports[i % 3], err.msg);
        for (uint64_t size = 8; size <= 1 << 20; size *= 64)
            for (uint64_t depth = 1; depth <= 16; depth *= 16)
                if (read_some(net, size, depth, &err))
                    fail_msg("%s %d x %d: %s", transports[i % 3], (int)size, (int)depth, err.msg);
        assert_int_equal(read_some(net, 0, 1, NULL), KVS_ERR_RANGE);
        assert_int_equal(read_some(net, 8, 257, NULL), KVS_ERR_RANGE);
        kvs_net_close(net);
        n_done++;
    }
    assert_true(n_done >= 2);
}

static void an_unknown_provider_is_unavailable(void **state)
{
    struct kvs_err err = {KVS_OK, ""};
    (void)state;
    assert_null(open_net(NULL, 0, "nonesuch", 0, &err));
    assert_int_equal(err.code, KVS_ERR_ABSENT);
    assert_non_null(strstr(err.msg, "nonesuch"));
}

static void nobody_there_is_an_error_that_says_what_to_start(void **state)
{
    struct kvs_server *server = start();
    struct kvs_err err = {KVS_OK, ""};
    (void)state;
    uint16_t port = kvs_server_port(server);
    kvs_server_stop(server);
    assert_null(open_net("127.0.0.1", port, "tcp", 0, &err));
    assert_int_equal(err.code, KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "Connection refused (is `kvprobe serve` running there?)"));
}

/* Garbage, another version and a client that goes away in the middle: answered or dropped, and the
 * next client is served as if nothing had been. */
static void the_server_survives_bad_clients_and_serves_others(void **state)
{
    struct kvs_server *server = start();
    uint16_t port = kvs_server_port(server);
    struct kvs_err err = {KVS_OK, ""};
    uint8_t answer[KVS_NET_HEADER + KVS_NET_TEXT_MAX];
    (void)state;
    struct kvs_net *net = open_net("127.0.0.1", port, "tcp", 0, &err);
    assert_non_null(net);

    int fd = raw_connect(port);
    const char *garbage = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_int_equal(send(fd, garbage, strlen(garbage), 0), strlen(garbage));
    ssize_t n = recv(fd, answer, sizeof answer, MSG_WAITALL);
    assert_true(n > KVS_NET_HEADER && memcmp(answer, "KVSP", 4) == 0);
    assert_non_null(memmem(answer, (size_t)n, "not kvprobe's protocol", 22));
    close(fd);

    struct kvs_net_msg hello = {KVS_NET_HELLO, 0, 0, 0},
                       read = {KVS_NET_READ, 1, 0, KVS_NET_BUFFER};
    uint8_t bytes[KVS_NET_HEADER];
    kvs_net_pack(&hello, bytes);
    bytes[4] = 2;
    fd = raw_connect(port);
    assert_int_equal(send(fd, bytes, sizeof bytes, 0), sizeof bytes);
    n = recv(fd, answer, sizeof answer, MSG_WAITALL);
    assert_non_null(memmem(answer, (size_t)n, "speaks version 2", 16));
    close(fd);

    fd = raw_connect(port); /* asks for everything, takes a little, goes */
    kvs_net_pack(&read, bytes);
    assert_int_equal(send(fd, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(recv(fd, answer, 100, MSG_WAITALL), 100);
    close(fd);

    fd = raw_connect(port); /* half a header, and then nothing */
    assert_int_equal(send(fd, bytes, 5, 0), 5);

    if (read_some(net, 4096, 4, &err))
        fail_msg("%s", err.msg);
    kvs_net_close(net);
    net = open_net("127.0.0.1", port, "tcp", 0, &err);
    assert_non_null(net);
    assert_int_equal(read_some(net, 65536, 2, NULL), KVS_OK);
    kvs_net_close(net);
    kvs_server_stop(server); /* also with the half header outstanding */
    close(fd);
}

static void a_full_server_says_so(void **state)
{
    struct kvs_server *server = start();
    struct kvs_err err = {KVS_OK, ""};
    int fd[32];
    (void)state;
    for (int i = 0; i < 32; i++)
        fd[i] = raw_connect(kvs_server_port(server));
    struct kvs_net *net = open_net("127.0.0.1", kvs_server_port(server), "tcp", 0, &err);
    assert_null(net);
    assert_non_null(strstr(err.msg, "busy: 32 clients"));
    for (int i = 0; i < 32; i++)
        close(fd[i]);
    kvs_server_stop(server);
}

static void a_peer_that_dies_is_an_error_not_a_hang(void **state)
{
    struct kvs_server *server = start();
    struct kvs_err err = {KVS_OK, ""};
    (void)state;
    struct kvs_net *net = open_net("127.0.0.1", kvs_server_port(server), "tcp", 2, &err);
    assert_non_null(net);
    assert_int_equal(read_some(net, 4096, 4, NULL), KVS_OK);
    kvs_server_stop(server);
    assert_int_equal(read_some(net, 4096, 4, &err), KVS_ERR_IO);
    assert_true(strstr(err.msg, "the peer closed") || strstr(err.msg, "reset") ||
                strstr(err.msg, "Broken pipe") || strstr(err.msg, "stopped"));
    kvs_net_close(net);
}

/* A listener of ours that answers what it is told. */
struct liar {
    int fd;
    const uint8_t *answer;
    size_t n_byte;
    pthread_t thread;
};

static void *lie(void *self)
{
    struct liar *liar = self;
    uint8_t got[KVS_NET_HEADER];
    int fd = accept(liar->fd, NULL, NULL);
    if (recv(fd, got, sizeof got, MSG_WAITALL) > 0 && liar->n_byte)
        (void)!send(fd, liar->answer, liar->n_byte, MSG_NOSIGNAL);
    (void)!recv(fd, got, 1, MSG_WAITALL); /* until the client gives up */
    close(fd);
    return NULL;
}

static enum kvs_code meet_liar(const void *answer, size_t n_byte, struct kvs_err *err)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t n = sizeof at;
    struct liar liar = {socket(AF_INET, SOCK_STREAM, 0), answer, n_byte, 0};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(liar.fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(liar.fd, 1), 0);
    assert_int_equal(getsockname(liar.fd, (struct sockaddr *)&at, &n), 0);
    assert_int_equal(pthread_create(&liar.thread, NULL, lie, &liar), 0);
    err->code = KVS_OK;
    assert_null(open_net("127.0.0.1", ntohs(at.sin_port), "tcp", 0.3, err));
    pthread_join(liar.thread, NULL);
    close(liar.fd);
    return err->code;
}

static void a_peer_that_is_silent_or_lies_is_an_error(void **state)
{
    struct kvs_err err;
    uint8_t bytes[KVS_NET_HEADER];
    struct kvs_net_msg wrong = {KVS_NET_HELLO, 0, 0, 1024};
    (void)state;
    assert_int_equal(meet_liar(NULL, 0, &err), KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "silent for 0.3 s"));
    assert_int_equal(meet_liar("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12", 32, &err), KVS_ERR_PARSE);
    assert_non_null(strstr(err.msg, "not kvprobe's protocol"));
    kvs_net_pack(&wrong, bytes);
    assert_int_equal(meet_liar(bytes, sizeof bytes, &err), KVS_ERR_PARSE);
    assert_non_null(strstr(err.msg, "answered HELLO"));
}

static void known_data_is_told_from_other(void **state)
{
    uint8_t buf[256];
    (void)state;
    kvs_net_data(buf, sizeof buf);
    assert_true(kvs_net_is_data(buf, 0, 256));
    assert_true(kvs_net_is_data(buf + 13, 13, 99));
    assert_false(kvs_net_is_data(buf + 13, 14, 99));
    buf[100] ^= 1;
    assert_false(kvs_net_is_data(buf, 0, 256));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_survive_packing),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(known_data_is_told_from_other),
        cmocka_unit_test(every_transport_reads_what_the_server_holds),
        cmocka_unit_test(an_unknown_provider_is_unavailable),
        cmocka_unit_test(nobody_there_is_an_error_that_says_what_to_start),
        cmocka_unit_test(the_server_survives_bad_clients_and_serves_others),
        cmocka_unit_test(a_full_server_says_so),
        cmocka_unit_test(a_peer_that_dies_is_an_error_not_a_hang),
        cmocka_unit_test(a_peer_that_is_silent_or_lies_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
