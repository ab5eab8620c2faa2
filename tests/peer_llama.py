#!/usr/bin/env python3
"""llama.cpp beside tests/bench_kernels.c: `peer_llama.py MODEL THREADS` reads numbers of tokens from
standard input and answers each with the seconds of one prefill, on the clock and of CPU. Needs PyPI's
llama-cpp-python.
`peer_llama.py --f32 FROM TO` writes a GGUF file with all weights as F32 (needs gguf and numpy), and
`peer_llama.py --greedy MODEL FILE` prints, for each line "prompt tokens | ..." of FILE, the greedy
continuation: what tests/data/smollm2_greedy.txt is checked against."""
import ctypes
import os
import sys
import time


def to_f32(source, target):
    import gguf

    reader = gguf.GGUFReader(source)
    arch = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, arch)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub)
    for tensor in reader.tensors:
        data = gguf.dequantize(tensor.data, tensor.tensor_type).astype("float32")
        writer.add_tensor(tensor.name, data.reshape([int(n) for n in reversed(tensor.shape)]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Peer:
    def __init__(self, model, threads, n_ctx):
        import llama_cpp as api

        self.api = api
        quiet = api.llama_log_callback(lambda level, text, data: None)
        api.llama_log_set(quiet, None)
        self.keep = quiet
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = api.llama_model_load_from_file(model.encode(), params)
        if not self.model:
            sys.exit(f"{model}: llama.cpp can't load it")
        context = api.llama_context_default_params()
        context.n_ctx = n_ctx
        context.n_batch = n_ctx
        context.n_ubatch = int(os.environ.get("KVS_UBATCH", "512"))
        context.n_threads = threads
        context.n_threads_batch = threads
        context.type_k = int(os.environ.get("KVS_KV_TYPE", "1"))
        context.type_v = context.type_k
        self.context = api.llama_init_from_model(self.model, context)
        self.n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))

    def prefill(self, tokens):
        api = self.api
        api.llama_memory_clear(api.llama_get_memory(self.context), True)
        array = (api.llama_token * len(tokens))(*tokens)
        batch = api.llama_batch_get_one(array, len(tokens))
        begin, cpu = time.perf_counter(), time.process_time()
        if api.llama_decode(self.context, batch) != 0:
            sys.exit("llama_decode failed")
        api.llama_synchronize(self.context)
        return time.perf_counter() - begin, time.process_time() - cpu

    def best(self):
        logits = self.api.llama_get_logits_ith(self.context, -1)
        values = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * self.n_vocab)).contents
        return max(range(self.n_vocab), key=values.__getitem__)


def greedy(model, path):
    peer = Peer(model, 1, 512)
    for line in open(path, encoding="ascii"):
        if line.startswith("#"):
            continue
        fields = line.split("|")
        tokens = [int(x) for x in fields[0].split()]
        want = [int(x) for x in fields[1].split()]
        got = []
        for _ in want:
            peer.prefill(tokens + got)
            got.append(peer.best())
        same = next((i for i, pair in enumerate(zip(got, want)) if pair[0] != pair[1]), len(want))
        print(" ".join(map(str, got)), "| equal" if same == len(want) else f"| differs from token {same}")


def serve(model, threads):
    peer = Peer(model, threads, 2048)
    print("ready", flush=True)
    for line in sys.stdin:
        n = int(line)
        print(*peer.prefill([i * 7919 % peer.n_vocab for i in range(n)]), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--f32":
        to_f32(sys.argv[2], sys.argv[3])
    elif sys.argv[1] == "--greedy":
        greedy(sys.argv[2], sys.argv[3])
    else:
        serve(sys.argv[1], int(sys.argv[2]))
