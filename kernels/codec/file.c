/* file.c - the head of a file: header, tables, directory, each checked before it is believed. */
#include "format.h"
#include "rans.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define FAIL(...) kvs_fail(err, KVS_ERR_PARSE, __VA_ARGS__)

#define TABLE_BYTES ((uint32_t)sizeof(struct kvs_table_head) + 4u * KVS_RANS_SYMBOL) /* at most */

size_t kvs_kvf_head_bytes(const uint8_t *data, size_t n_byte)
{
    struct kvs_header head;

    if (n_byte < sizeof head)
        return 0;
    memcpy(&head, data, sizeof head);
    if (memcmp(head.magic, KVS_KVF_MAGIC, sizeof head.magic) != 0 || head.block_tok == 0 ||
        head.table_bytes > KVS_MAX_TABLE * TABLE_BYTES || head.n_tok > KVS_MAX_TOK ||
        head.n_layer > KVS_MAX_LAYER)
        return 0;
    uint64_t n_block = ((uint64_t)head.n_tok + head.block_tok - 1) / head.block_tok;
    uint64_t n_section = n_block * head.n_layer * 2;
    if (n_section > KVS_MAX_SECTION)
        return 0;
    return (size_t)(KVS_KVF_PAGE + kvs_page_up(head.table_bytes) +
                    kvs_page_up(n_section * sizeof(struct kvs_entry)));
}

static enum kvs_code check_header(struct kvs_kvf *codec, const struct kvs_header *head,
                                  size_t n_file, struct kvs_err *err)
{
    const char *name = codec->name;
    struct kvs_kvf_shape *shape = &codec->shape;

    if (memcmp(head->magic, KVS_KVF_MAGIC, sizeof head->magic) != 0)
        return FAIL("%s: is no codec file: it does not begin with \"" KVS_KVF_MAGIC "\"", name);
    if (head->major != KVS_KVF_MAJOR)
        return FAIL("%s: version: found %u.%u, want %d.x", name, head->major, head->minor,
                    KVS_KVF_MAJOR);
    if (codec->check &&
        XXH3_64bits(head, offsetof(struct kvs_header, header_hash)) != head->header_hash)
        return FAIL("%s: the header's checksum is wrong", name);
    if (head->header_bytes != KVS_KVF_PAGE || head->flags > 3)
        return FAIL("%s: header: found %u bytes, flags %#x; want %d, 0 to 3", name,
                    head->header_bytes, head->flags, KVS_KVF_PAGE);
    *shape = (struct kvs_kvf_shape){
        .n_layer = head->n_layer,
        .n_kv_head = head->n_kv_head,
        .head_dim = head->head_dim,
        .n_tok = head->n_tok,
        .block_tok = head->block_tok,
        .n_sink = head->n_sink,
        .half = head->half == 0 ? KVS_F16 : KVS_HALF_BF16,
        .before_rope = head->flags & 1,
        .hidden = head->flags >> 1 & 1,
        .first_layer = head->first_layer,
        .model_hash = {head->model_hash[0], head->model_hash[1]},
        .prefix_hash = {head->prefix_hash[0], head->prefix_hash[1]},
    };
    codec->minor = head->minor;
    if (head->minor == 0 && head->zero != 0)
        return FAIL("%s: header: a reserved field is not zero", name);
    if (head->half > KVS_HALF_BF16)
        return FAIL("%s: number type: found %u, want 0 or 1", name, head->half);
    if (kvs_kvf_check_shape(name, shape, err))
        return err ? err->code : KVS_ERR_RANGE;
    if (head->file_bytes != n_file)
        return FAIL("%s: has %zu bytes, its header says %llu", name, n_file,
                    (unsigned long long)head->file_bytes);
    uint64_t n_block = ((uint64_t)shape->n_tok + shape->block_tok - 1) / shape->block_tok;
    if (n_block * shape->n_layer * 2 > KVS_MAX_SECTION)
        return FAIL("%s: %llu sections, want at most %d", name,
                    (unsigned long long)(n_block * shape->n_layer * 2), KVS_MAX_SECTION);
    if (head->n_table > KVS_MAX_TABLE || head->table_bytes > head->n_table * TABLE_BYTES)
        return FAIL("%s: %u tables of %u bytes, want at most %d of %u each", name, head->n_table,
                    head->table_bytes, KVS_MAX_TABLE, TABLE_BYTES);
    codec->n_section = (uint32_t)n_block * shape->n_layer * 2;
    codec->n_table = head->n_table;
    codec->table_bytes = head->table_bytes;
    codec->file_bytes = n_file;
    codec->head_bytes = KVS_KVF_PAGE + kvs_page_up(head->table_bytes) +
                        kvs_page_up((uint64_t)codec->n_section * sizeof(struct kvs_entry));
    if (codec->head_bytes > codec->n_byte)
        return FAIL("%s: %zu bytes are here, the head alone has %llu", name, codec->n_byte,
                    (unsigned long long)codec->head_bytes);
    return KVS_OK;
}

static enum kvs_code read_table(struct kvs_kvf *codec, uint32_t i, uint32_t *at,
                                struct kvs_err *err)
{
    const uint8_t *base = codec->data + KVS_KVF_PAGE;
    struct kvs_table_head head;
    uint16_t freq[KVS_RANS_SYMBOL];
    int16_t value[KVS_RANS_SYMBOL];
    uint32_t sum = 0;

    if (codec->table_bytes - *at < sizeof head)
        return FAIL("%s: table %u: the tables end before it", codec->name, i);
    memcpy(&head, base + *at, sizeof head);
    *at += sizeof head;
    if (head.n < 2 || head.n > KVS_RANS_SYMBOL || head.fraction > 9)
        return FAIL("%s: table %u: found %u symbols, %u bits of fraction; want 2 to %d, 0 to 9",
                    codec->name, i, head.n, head.fraction, KVS_RANS_SYMBOL);
    if (head.low > KVS_RANS_LOW_BITS || (head.low && head.fraction))
        return FAIL("%s: table %u: found %u low bits, %u bits of fraction; want 0 to %d, and one "
                    "of both at most",
                    codec->name, i, head.low, head.fraction, KVS_RANS_LOW_BITS);
    if (codec->table_bytes - *at < head.n * 4u)
        return FAIL("%s: table %u: the tables end inside it", codec->name, i);
    memcpy(freq, base + *at, head.n * 2u);
    memcpy(value, base + *at + head.n * 2u, head.n * 2u);
    *at += head.n * 4u;
    for (uint32_t s = 0; s < head.n; s++) {
        if (freq[s] == 0 || value[s] < -KVS_RANS_VALUE_MAX ||
            value[s] + (1 << head.low) - 1 > KVS_RANS_VALUE_MAX)
            return FAIL("%s: table %u: symbol %u has frequency %u, value %d", codec->name, i, s,
                        freq[s], value[s]);
        sum += freq[s];
    }
    if (sum != KVS_RANS_M)
        return FAIL("%s: table %u: frequencies sum to %u, want %d", codec->name, i, sum,
                    KVS_RANS_M);
    struct kvs_rans_alias alias;
    kvs_rans_alias(&alias, freq, head.n);
    kvs_rans_table(codec->table + (size_t)i * KVS_RANS_M, &alias, freq, value);
    kvs_rans_small(&codec->small[i], &alias, freq, value, head.n);
    codec->fraction[i] = (uint8_t)(head.fraction | head.low << 4);
    return KVS_OK;
}

static enum kvs_code check_directory(struct kvs_kvf *codec, struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = &codec->shape;
    uint64_t at = codec->head_bytes;

    for (uint32_t i = 0; i < codec->n_section; i++) {
        const struct kvs_entry *e = &codec->entry[i];
        uint32_t block = i / (shape->n_layer * 2);
        if (e->block != block || e->layer != i / 2 % shape->n_layer || e->kv != i % 2 ||
            e->first_tok != block * shape->block_tok || e->n_tok != kvs_block_tok(shape, block) ||
            e->zero != 0)
            return FAIL("%s: directory: entry %u is not that of its place", codec->name, i);
        if (codec->minor == 0 && !kvs_all_zero(e->zeros, 5))
            return FAIL("%s: directory: entry %u: a reserved field is not zero", codec->name, i);
        if (e->level >= KVS_N_LEVEL || (e->level == KVS_LX && shape->half != KVS_HALF_BF16))
            return FAIL("%s: directory: entry %u: level: found %u", codec->name, i, e->level);
        if (e->at_bytes != at || e->n_byte < sizeof(struct kvs_section_head) ||
            e->n_byte > codec->file_bytes - at)
            return FAIL("%s: directory: entry %u: found %llu bytes at %llu, want its place at %llu "
                        "of %llu",
                        codec->name, i, (unsigned long long)e->n_byte,
                        (unsigned long long)e->at_bytes, (unsigned long long)at,
                        (unsigned long long)codec->file_bytes);
        at = kvs_page_up(at + e->n_byte);
        if (at > codec->file_bytes)
            return FAIL("%s: section %u is cut off", codec->name, i);
    }
    if (at != codec->file_bytes)
        return FAIL("%s: %llu bytes follow the last section", codec->name,
                    (unsigned long long)(codec->file_bytes - at));
    return KVS_OK;
}

static bool zero_between(const struct kvs_kvf *codec, uint64_t from, uint64_t end)
{
    const uint8_t *p = codec->data + from;

    return from >= end || (p[0] == 0 && memcmp(p, p + 1, end - from - 1) == 0);
}

/* What no checksum covers: all padding of the head, and of sections that are here. */
static enum kvs_code check_padding(const struct kvs_kvf *codec, struct kvs_err *err)
{
    uint64_t table = KVS_KVF_PAGE + codec->table_bytes;
    uint64_t entry = kvs_page_up(table) + codec->n_section * sizeof(struct kvs_entry);
    bool zero = zero_between(codec, sizeof(struct kvs_header), KVS_KVF_PAGE) &&
                zero_between(codec, table, kvs_page_up(table)) &&
                zero_between(codec, entry, codec->head_bytes);

    if (!zero)
        return FAIL("%s: padding of the head is not zero", codec->name);
    for (uint32_t i = 0; i < codec->n_section; i++) {
        uint64_t from = codec->entry[i].at_bytes + codec->entry[i].n_byte;
        uint64_t end = kvs_page_up(from);
        if (end <= codec->n_byte && !zero_between(codec, from, end))
            return FAIL("%s: the padding after section %u is not zero", codec->name, i);
    }
    return KVS_OK;
}

static enum kvs_code parse(struct kvs_kvf *codec, size_t n_file, struct kvs_err *err)
{
    struct kvs_header head;
    enum kvs_code code;
    uint32_t at = 0;

    if (codec->n_byte < sizeof head)
        return FAIL("%s: %zu bytes are no codec file", codec->name, codec->n_byte);
    memcpy(&head, codec->data, sizeof head);
    code = check_header(codec, &head, n_file, err);
    if (code)
        return code;
    const uint8_t *table = codec->data + KVS_KVF_PAGE;
    const uint8_t *entry = table + kvs_page_up(codec->table_bytes);
    size_t n_entry = codec->n_section * sizeof *codec->entry;
    if (codec->check && XXH3_64bits(table, codec->table_bytes) != head.table_hash)
        return FAIL("%s: the tables' checksum is wrong", codec->name);
    if (codec->check && XXH3_64bits(entry, n_entry) != head.directory_hash)
        return FAIL("%s: the directory's checksum is wrong", codec->name);
    /* both bounded by what the caller holds in memory, and by KVS_MAX_TABLE */
    assert(n_entry > 0);
    codec->entry = malloc(n_entry);
    codec->table = malloc((codec->n_table ? codec->n_table : 1) * sizeof(uint32_t) * KVS_RANS_M);
    codec->small = aligned_alloc(64, (codec->n_table ? codec->n_table : 1) * sizeof *codec->small);
    if (!codec->entry || !codec->table || !codec->small)
        return kvs_nomem(err);
    memcpy(codec->entry, entry, n_entry);
    for (uint32_t i = 0; i < codec->n_table && !code; i++)
        code = read_table(codec, i, &at, err);
    if (!code && at != codec->table_bytes)
        code = FAIL("%s: %u bytes follow the last table", codec->name, codec->table_bytes - at);
    if (!code)
        code = check_directory(codec, err);
    return code || !codec->check ? code : check_padding(codec, err);
}

enum kvs_code kvs_kvf_parse(const char *name, const uint8_t *data, size_t n_byte, size_t n_file,
                            bool check, struct kvs_kvf **out, struct kvs_err *err)
{
    struct kvs_kvf *codec = calloc(1, sizeof *codec);
    struct kvs_err local = {0};
    enum kvs_code code;

    err = err ? err : &local;
    *out = NULL;
    if (codec)
        codec->name = strdup(name);
    if (!codec || !codec->name) {
        free(codec);
        return kvs_nomem(err);
    }
    codec->data = data;
    codec->n_byte = n_byte < n_file ? n_byte : n_file;
    codec->check = check;
    code = parse(codec, n_file, err);
    if (code)
        kvs_kvf_close(codec);
    else
        *out = codec;
    return code;
}

/* The file's bytes from .. n - 1, which nobody cuts meanwhile. */
static enum kvs_code read_all(const char *file, int fd, uint8_t *to, size_t from, size_t n,
                              struct kvs_err *err)
{
    for (size_t at = from; at < n;) {
        ssize_t got = read(fd, to + at, n - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return kvs_fail(err, KVS_ERR_IO, "%s: %s", file, strerror(errno));
        if (got == 0)
            return kvs_fail(err, KVS_ERR_IO, "%s: ends at %zu bytes, had %zu when it was opened",
                            file, at, n);
        at += (size_t)got;
    }
    return KVS_OK;
}

enum kvs_code kvs_kvf_open(const char *file, bool check, struct kvs_kvf **out, struct kvs_err *err)
{
    struct stat stat = {0};
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO has nobody to wait for */
    enum kvs_code code = KVS_OK;
    uint8_t *data = NULL, first[sizeof(struct kvs_header)];
    size_t n_byte = 0, n_first = 0;

    *out = NULL;
    if (fd < 0 || fstat(fd, &stat))
        code = kvs_fail(err, KVS_ERR_IO, "%s: %s", file, strerror(errno));
    else if (!S_ISREG(stat.st_mode))
        code = kvs_fail(err, KVS_ERR_PARSE, "%s: is no regular file, want a codec file", file);
    if (!code) {
        n_byte = (size_t)stat.st_size;
        n_first = n_byte < sizeof first ? n_byte : sizeof first;
        code = read_all(file, fd, first, 0, n_first, err);
    }
    if (!code && !kvs_kvf_head_bytes(first, n_first)) /* whatever it is, it may be large */
        code = kvs_kvf_parse(file, first, n_first, n_byte, check, out, err);
    if (!code) {
        data = malloc(n_byte);
        if (data)
            memcpy(data, first, n_first);
        code = data ? read_all(file, fd, data, n_first, n_byte, err) : kvs_nomem(err);
    }
    if (fd >= 0)
        (void)close(fd);
    assert(code || data);
    if (!code)
        code = kvs_kvf_parse(file, data, n_byte, n_byte, check, out, err);
    if (*out)
        (*out)->own = data;
    else
        free(data);
    return code;
}

void kvs_kvf_close(struct kvs_kvf *codec)
{
    if (!codec)
        return;
    free(codec->own);
    free(codec->name);
    free(codec->entry);
    free(codec->table);
    free(codec->small);
    free(codec);
}

const struct kvs_kvf_shape *kvs_kvf_shape(const struct kvs_kvf *codec)
{
    return &codec->shape;
}

uint32_t kvs_kvf_n_section(const struct kvs_kvf *codec)
{
    return codec->n_section;
}

uint32_t kvs_kvf_n_block(const struct kvs_kvf *codec)
{
    return codec->n_section / (codec->shape.n_layer * 2);
}

struct kvs_section kvs_kvf_section(const struct kvs_kvf *codec, uint32_t i)
{
    const struct kvs_entry *e = &codec->entry[i];

    return (struct kvs_section){.at_bytes = e->at_bytes,
                                .n_byte = e->n_byte,
                                .block = e->block,
                                .layer = e->layer,
                                .kv = (enum kvs_kv)e->kv,
                                .level = (enum kvs_level)e->level,
                                .first_tok = e->first_tok,
                                .n_tok = e->n_tok};
}

void kvs_kvf_head_parts(const struct kvs_kvf *codec, struct kvs_kvf_parts *parts)
{
    uint64_t used =
        sizeof(struct kvs_header) + (uint64_t)codec->n_section * sizeof(struct kvs_entry);

    parts->table += codec->table_bytes;
    parts->head += used;
    parts->padding += codec->head_bytes - used - codec->table_bytes;
}
