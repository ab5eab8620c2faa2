#include "store_lab.h"

#include "kernels/codec/made.h"
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct lab_block lab_block(uint64_t seed, enum kvs_level level)
{
    struct lab_block block = {0};
    const uint64_t model[2] = {1, 2};
    uint8_t levels[LAB_LAYERS * 2];
    uint32_t tok[LAB_TOK];
    struct kvs_err err = {0};

    for (uint32_t i = 0; i < LAB_TOK; i++)
        tok[i] = (uint32_t)seed * 1000 + i;
    kvs_block_keys(model, tok, LAB_TOK, 1, &block.key);
    for (uint32_t i = 0; i < LAB_LAYERS * 2; i++) {
        block.x[i] = kvs_kvf_made(seed * 100 + i, LAB_TOK, LAB_CHAN, .3, KVS_HALF_BF16);
        levels[i] = (uint8_t)level;
        assert_non_null(block.x[i]);
    }
    struct kvs_kvf_in in = {.shape = {.n_layer = LAB_LAYERS,
                                      .n_kv_head = LAB_HEADS,
                                      .head_dim = LAB_DIM,
                                      .n_tok = LAB_TOK,
                                      .block_tok = LAB_TOK,
                                      .half = KVS_HALF_BF16,
                                      .model_hash = {1, 2},
                                      .prefix_hash = {block.key.word[0], block.key.word[1]}},
                            .x = (const uint16_t *const *)block.x,
                            .level = levels};
    if (kvs_kvf_encode(&in, kvs_kvf_isa(NULL), &block.file, &block.n_byte, &err))
        fail_msg("%s", err.msg);
    return block;
}

void lab_block_free(struct lab_block *block)
{
    for (uint32_t i = 0; i < LAB_LAYERS * 2; i++)
        free(block->x[i]);
    free(block->file);
}

void lab_put(struct kvs_store *store, const struct lab_block *block, enum kvs_level level)
{
    struct kvs_err err = {0};

    if (kvs_store_put(store, block->key, kvs_level_names[level], block->file, block->n_byte, NULL,
                      &err))
        fail_msg("%s", err.msg);
}

struct kvs_store *lab_open(const char *place)
{
    struct kvs_store *store;
    struct kvs_err err = {0};

    if (kvs_store_open(place, &(struct kvs_store_opt){.make = true}, &store, &err))
        fail_msg("%s", err.msg);
    return store;
}

pid_t lab_redis(const char *dir, char *place, size_t room, const char **why_not)
{
    char socket[128];
    struct kvs_store *store = NULL;
    struct kvs_err err = {0};

    snprintf(socket, sizeof socket, "%s/redis.sock", dir);
    snprintf(place, room, "redis:%s", socket);
    if (kvs_store_open(place, NULL, &store, &err) == KVS_ERR_ABSENT) {
        *why_not = "built without hiredis";
        return 0;
    }
    (void)unlink(socket);
    pid_t server = fork();
    if (server == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(126);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
               "--appendonly", "no", "--dir", dir, (char *)NULL);
        execlp("valkey-server", "valkey-server", "--port", "0", "--unixsocket", socket, "--save",
               "", "--appendonly", "no", "--dir", dir, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; server > 0 && i < 500; i++) {
        int status;
        if (waitpid(server, &status, WNOHANG) == server)
            break;
        if (access(socket, R_OK) == 0 && kvs_store_open(place, NULL, &store, NULL) == KVS_OK) {
            kvs_store_close(store);
            return server;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    if (server > 0)
        (void)kill(server, SIGKILL);
    *why_not = "no redis-server or valkey-server that starts";
    return 0;
}
