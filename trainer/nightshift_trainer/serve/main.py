"""`nightshift_trainer serve`: starts the embedded policy server."""

import argparse
import asyncio
import json
import logging
import os
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

import torch
import uvicorn
from transformers.utils.logging import disable_progress_bar

from nightshift_trainer.serve.app import create_app
from nightshift_trainer.serve.engine import Engine
from nightshift_trainer.serve.model import Models
from nightshift_trainer.serve.service import Service
from nightshift_trainer.serve.shapes import probe
from nightshift_trainer.serve.template import ChatTemplate

log = logging.getLogger("nightshift.serve")

# The HTTP thread and the engine's thread share one interpreter lock, and a tiny model's operations take
# microseconds: at the default 5 ms the engine would wait for the lock far longer than it computes.
SWITCH_INTERVAL_S = 1e-4
GRACE_S = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The names are vLLM's where vLLM has them."""
    parser.add_argument(
        "--model", type=Path, required=True, help="directory: config, safetensors, tokenizer, template"
    )
    parser.add_argument("--served-model-name", default="base", help="the name that requests call it by")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=int, default=8000, help="0 takes a free one; the ready line says which"
    )
    parser.add_argument("--max-loras", type=int, default=6, help="adapters resident at once")
    parser.add_argument("--max-lora-rank", type=int, default=64)
    parser.add_argument(
        "--max-model-len", type=int, default=512, help="prompt and completion together, in tokens"
    )
    parser.add_argument("--slots", type=int, default=32, help="rows in one decoding step")
    parser.add_argument("--threads", type=int, default=1, help="threads of one tensor operation")
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when standard input closes")


def run(args: argparse.Namespace) -> int:
    """Serves until a signal (or the end of stdin); prints one JSON line when it listens."""
    servers: list[uvicorn.Server] = []
    if args.exit_with_stdin:
        threading.Thread(target=_follow_stdin, args=(servers,), daemon=True).start()
    _log_json()
    log.warning(
        "embedded policy server: for the quickstart and for tests, not for production; use vLLM there"
    )
    torch.set_num_threads(args.threads)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    service = create_service(args)
    service.engine.start()
    listener = socket.create_server((args.host, args.port), backlog=1024)
    config = uvicorn.Config(
        create_app(service),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    servers.append(server)
    print(json.dumps({"event": "ready", "port": listener.getsockname()[1]}), flush=True)
    asyncio.run(server.serve(sockets=[listener]))
    service.engine.stop()
    return 0


def create_service(args: argparse.Namespace) -> Service:
    """Loads model and tokenizer; nothing listens yet."""
    models = Models(args.model, args.served_model_name, args.max_loras, args.max_lora_rank)
    template = ChatTemplate(args.model, models.eos_ids)
    max_length = min(args.max_model_len, models.max_length)
    shapes = probe(models.base.network, args.slots, max_length)
    engine = Engine(shapes, args.threads, template.eos_ids, template.decode)
    return Service(models, engine, template, max_length)


class _JsonLines(logging.Formatter):
    """One JSON object a line; what a call passes as `extra` becomes fields."""

    _own = frozenset(vars(logging.makeLogRecord({})))

    def format(self, record: logging.LogRecord) -> str:
        fields = {key: value for key, value in vars(record).items() if key not in self._own}
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
        }
        if record.exc_info:
            line["err"] = self.formatException(record.exc_info)
        return json.dumps({**line, **fields}, default=str)


def _log_json() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(logging.INFO)
    # PEFT warns that an adapter's base has another path here: it always has.
    warnings.filterwarnings("ignore", module=r"peft|transformers")
    disable_progress_bar()


def _follow_stdin(servers: list[uvicorn.Server]) -> None:
    while os.read(0, 4096):
        pass
    if not servers:
        # Still loading, and nobody is left to serve.
        os._exit(0)
    servers[0].should_exit = True
    # Whatever still runs answers nobody: an orphan must not keep the machine from its successor.
    time.sleep(GRACE_S)
    os._exit(0)
