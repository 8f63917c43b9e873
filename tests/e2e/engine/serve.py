"""llama.cpp's own HTTP server (the code of `llama-server`, in a wheel), on 127.0.0.1: `serve.py MODEL PORT [POOLING]`.

MODEL is a GGUF file. With a pooling (`mean`, `rank`) it serves embeddings or rankings instead of text.
"""

import signal
import sys

import xllamacpp


def main(model: str, port: int, pooling: str = "") -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"tiny-random-llama"}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = 8192
    # A fifth request waits for a slot, as on a real engine under load.
    params.n_parallel = 4
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.n_threads_http = 16
    params.endpoint_metrics = True
    params.warmup = False
    params.ui = False
    params.offline = True
    if pooling:
        params.embedding = True
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    params.verbosity = 2  # warnings and errors; at 3 it tells of every request
    signals = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the server makes its threads, which inherit it: the signal can then only arrive here.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = xllamacpp.Server(params)
    print("listening on", server.listening_address, flush=True)
    signal.sigwait(signals)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
