#include "settings.h"

#include <inttypes.h>

#define LMCACHE_CHUNK_TOK                                                                          \
    256 /* its default: what the simulator's drives are fed with is larger                         \
         */
#define VLLM_BLOCK_TOK 64
#define SGLANG_PAGE_TOK 64

static void print_lmcache(const struct kvs_settings *s, FILE *to)
{
    const double share = 1 / (double)s->gpus_of_host;
    const uint32_t threshold_tok = s->drive_bytes ? s->drive_threshold_tok : s->dram_threshold_tok;
    fputs("LMCache, LMCACHE_CONFIG_FILE (sizes are of one worker: a host's share by its GPUs)\n",
          to);
    fprintf(to, "  chunk_size: %-24d # tokens of what is stored and looked up at once\n",
            LMCACHE_CHUNK_TOK);
    fprintf(to, "  local_cpu: %-25s # KV in host memory\n", s->dram_bytes ? "true" : "false");
    if (s->dram_bytes)
        fprintf(to, "  max_local_cpu_size: %-16.0f # GB, of %.0f GB a host\n",
                (double)s->dram_bytes * share / 1e9, (double)s->dram_bytes / 1e9);
    if (s->drive_bytes) {
        fprintf(to, "  local_disk: %-24s # a file system over all drives of the host\n",
                "\"file:///mnt/kv\"");
        fprintf(to, "  max_local_disk_size: %-15.0f # GB, of %.0f GB a host\n",
                (double)s->drive_bytes * share / 1e9, (double)s->drive_bytes / 1e9);
    }
    if (threshold_tok)
        fprintf(to,
                "  min_retrieve_tokens: %-15u # fewer are computed sooner than the slowest tier "
                "brings them (alone, %d new tokens)\n",
                threshold_tok, LMCACHE_CHUNK_TOK);
    fputs("  save_decode_cache: false             # answers' KV is not stored in what was "
          "simulated\n",
          to);
    fputs("  vllm serve MODEL --kv-transfer-config "
          "'{\"kv_connector\": \"LMCacheConnectorV1\", \"kv_role\": \"kv_both\"}' # vLLM stores in "
          "and loads from LMCache\n",
          to);
}

static void print_vllm(const struct kvs_settings *s, FILE *to)
{
    fputs("\nvLLM's own offloading (host memory; with drives: behind host memory, from v0.22 on)\n",
          to);
    fprintf(to,
            "  --max-num-batched-tokens %-10" PRIu64 " # tokens of one step: prefill chunks and "
            "decoding\n",
            s->chunk_tok);
    fprintf(to, "  --max-num-seqs %-20" PRIu64 " # sequences at once\n", s->max_batch);
    fprintf(to, "  --tensor-parallel-size %-12u # GPUs of a replica\n", s->tp);
    if (!s->dram_bytes) /* all that goes to drives is staged there */
        return;
    fprintf(to,
            "  --kv-transfer-config '{\"kv_connector\": \"OffloadingConnector\", \"kv_role\": "
            "\"kv_both\", \"kv_connector_extra_config\": {%s\"block_size\": %d, "
            "\"cpu_bytes_to_use\": %.0f%s}}' # a replica's share of the host's memory%s\n",
            s->drive_bytes ? "\"spec_name\": \"TieringOffloadingSpec\", " : "", VLLM_BLOCK_TOK,
            (double)s->dram_bytes * s->tp / (double)s->gpus_of_host,
            s->drive_bytes
                ? ", \"secondary_tiers\": [{\"type\": \"fs\", \"root_dir\": \"/mnt/kv\"}]"
                : "",
            s->drive_bytes ? "; files are not bounded: watch the drives" : "");
}

static void print_sglang(const struct kvs_settings *s, FILE *to)
{
    fputs("\nSGLang with HiCache\n", to);
    fprintf(to, "  --chunked-prefill-size %-12" PRIu64 " # tokens of a prefill chunk\n",
            s->chunk_tok);
    fprintf(to, "  --max-running-requests %-12" PRIu64 " # sequences at once\n", s->max_batch);
    fprintf(to, "  --tp-size %-25u # GPUs of a replica\n", s->tp);
    fprintf(to, "  --page-size %-23d # tokens of a page, which is what is moved\n",
            SGLANG_PAGE_TOK);
    if (s->dram_bytes || s->drive_bytes)
        fputs("  --enable-hierarchical-cache         # KV below HBM too\n", to);
    if (s->dram_bytes)
        fprintf(to, "  --hicache-size %-20.0f # GB of host memory, a rank's share\n",
                (double)s->dram_bytes / (double)s->gpus_of_host / 1e9);
    if (s->dram_bytes || s->drive_bytes)
        fputs("  --hicache-write-policy write_through # as simulated: all that is computed is "
              "stored\n  --hicache-io-backend kernel         # small pages are copied by GPU "
              "kernels\n  --hicache-mem-layout page_first      # large "
              "pieces to and from storage\n",
              to);
    if (s->drive_bytes)
        fputs("  --hicache-storage-backend nixl       # or another of its back ends over the "
              "drives\n",
              to);
    if (s->drive_bytes && s->drive_threshold_tok)
        fprintf(
            to,
            "  --hicache-storage-backend-extra-config '{\"prefetch_threshold\": %u}' # fewer hit "
            "tokens are computed sooner than drives bring them\n",
            s->drive_threshold_tok);
}

void kvs_settings_print(const struct kvs_settings *settings, FILE *to)
{
    print_lmcache(settings, to);
    print_vllm(settings, to);
    print_sglang(settings, to);
    fputs("\nNone of them plans layer by layer as `best` does: they load all that is stored. A "
          "workload with\n\"compare\": [\"load\"] is what they do.\n",
          to);
}
