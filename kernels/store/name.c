/* name.c - keys and tags. */
#include "place.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* What is hashed for a block: what is before it and a word that is 0, then its tokens. */
static struct kvs_block_key chain(const uint64_t before[2], const uint32_t *tok, uint32_t n_tok)
{
    const uint64_t head[3] = {before[0], before[1], 0};
    XXH128_hash_t seed = XXH3_128bits(head, sizeof head);
    XXH128_hash_t hash = XXH3_128bits_withSeed(tok, n_tok * sizeof *tok, seed.low64);

    return (struct kvs_block_key){{hash.high64 ^ seed.high64, hash.low64}};
}

void kvs_block_keys(const uint64_t model_hash[2], const uint32_t *tok, uint32_t block_tok,
                    uint32_t n_block, struct kvs_block_key *key)
{
    for (uint32_t i = 0; i < n_block; i++)
        key[i] = chain(i ? key[i - 1].word : model_hash, tok + (size_t)i * block_tok, block_tok);
}

void kvs_store_tag(const uint8_t *level, uint32_t n_layer, char tag[KVS_TAG_MAX])
{
    bool one = true;

    for (uint32_t i = 1; i < n_layer * 2; i++)
        one = one && level[i] == level[0];
    if (one)
        snprintf(tag, KVS_TAG_MAX, "%s", kvs_level_names[level[0]]);
    else
        snprintf(tag, KVS_TAG_MAX, "mix-%016llx",
                 (unsigned long long)XXH3_64bits(level, (size_t)n_layer * 2));
}

static bool tag_n_ok(const char *tag, size_t n)
{
    if (n == 0 || n >= KVS_TAG_MAX || tag[0] == '.' || tag[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((tag[i] >= 'a' && tag[i] <= 'z') || (tag[i] >= '0' && tag[i] <= '9') ||
              tag[i] == '.' || tag[i] == '-'))
            return false;
    return true;
}

bool kvs_tag_ok(const char *tag)
{
    return tag_n_ok(tag, strlen(tag));
}

static bool hex(const char *text, uint64_t *word)
{
    *word = 0;
    for (unsigned i = 0; i < 16; i++) {
        const char *digits = "0123456789abcdef", *at = text[i] ? strchr(digits, text[i]) : NULL;
        if (!at)
            return false;
        *word = *word << 4 | (uint64_t)(at - digits);
    }
    return true;
}

bool kvs_block_name_parse(const char *text, size_t n, struct kvs_block_key *key,
                          char tag[KVS_TAG_MAX])
{
    if (n < 34 || !hex(text, &key->word[0]) || !hex(text + 16, &key->word[1]) || text[32] != '.' ||
        !tag_n_ok(text + 33, n - 33))
        return false;
    memcpy(tag, text + 33, n - 33);
    tag[n - 33] = 0;
    return true;
}

bool kvs_block_parse(const char *text, struct kvs_block_key *key, char tag[KVS_TAG_MAX])
{
    return kvs_block_name_parse(text, strlen(text), key, tag);
}
