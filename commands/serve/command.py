"""`llorch-run serve`: serve a model over HTTP until a signal arrives."""

from __future__ import annotations

import ipaddress
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch import formats
from llorch.base.errors import UnsupportedInput
from llorch.commands import cli
from llorch.commands.cli import SIGNALS, Signalled
from llorch.commands.ledger import locate_model
from llorch.commands.serve.identity import identify, served_name
from llorch.commands.serve.log import log_to_stderr

if TYPE_CHECKING:
    from llorch.runtime import Model
    from llorch.runtime.serving import Card, Server, Settings

KEY_VARIABLE = "LLORCH_API_KEY"
KEY_BYTES = 4096
TOGETHER_S = 0.2  # two signals within this time count as one: timeout(1) signals the process, then its group


commands = click.Group()  # `llorch.commands.run.command` adds it to its group


@cli.subcommand(commands, "serve", example="llorch-run serve SmolLM2-135M-Instruct.Q4_1.gguf --port 8080")
@click.argument("model", type=cli.PATH, shell_complete=cli.complete_model)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Any other than this machine's own needs a key.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port to listen on; 0 is any free one.",
)
@cli.mode_option("fast")
@cli.device_option("Where it is computed. auto: cuda if it is there, else cpu.")
@click.option(
    "--api-key-file",
    type=cli.PATH,
    help=f"Keys, one a line, of which a client must send one; ${KEY_VARIABLE} holds a single one.",
)
@click.option(
    "--slots",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="Requests answered at a time.",
)
@click.option(
    "--max-queue",
    type=click.IntRange(min=0),
    default=64,
    show_default=True,
    help="Requests that may wait; more are refused.",
)
@click.option("--served-model-name", metavar="NAME", help="What clients call it.  [default: its name]")
@click.option(
    "--worker-id", metavar="ID", help="This worker's id, for --callback-url.  [default: a random one]"
)
@click.option("--callback-url", metavar="URL", help="Send a POST there once requests are accepted.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the log, which goes to stderr.",
)
@cli.registry_option
def serve(
    model: Path,
    host: str,
    port: int,
    mode: str,
    device: str,
    api_key_file: Path | None,
    slots: int,
    max_queue: int,
    served_model_name: str | None,
    worker_id: str | None,
    callback_url: str | None,
    log_format: str,
    url: str | None,
    as_json: bool,
) -> None:
    """Serve MODEL over HTTP, to clients of OpenAI and llama-server.

    MODEL is a .gguf file, a folder or a name of the registry. With --callback-url it
    is a dispatcher's worker.
    """
    require_extra()
    import asyncio  # takes as long to import as the rest of `llorch-run --help`

    from llorch.runtime import serving

    found = formats.model_path(locate_model(model, url, for_use=True), folders=True)
    keys = serving.Keys(read_keys(api_key_file, os.environ))
    if not is_loopback(host) and not keys:
        raise click.UsageError(f"to listen on {host} needs a key: give --api-key-file or ${KEY_VARIABLE}")
    limits = serving.Limits(slots=slots, max_queue=max_queue, cache_bytes=cache_bytes())
    settings = serving.Settings(
        worker_id=worker_id or os.urandom(8).hex(),
        callback_url=callback_url,
        keys=keys,
        hosts=None if keys else frozenset({"localhost", "127.0.0.1", "::1", host}),
        limits=limits,
    )
    card = serving.Card(served_model_name or served_name(model), int(time.time()))
    log_to_stderr(log_format)
    with serving.listen(host, port, limits) as listening:
        server = serving.Server(
            settings,
            card,
            listening,
            load=lambda: load_model(found, device, mode),
            identify=lambda: identify(found, card, url),
            on_ready=lambda uri: say_ready(uri, settings, card, as_json=as_json),
        )
        asyncio.run(until_signalled(server))


def require_extra() -> None:
    """Raise UsageError if the packages of the extra `serve` are not installed."""
    try:
        import prometheus_client  # noqa: F401  # only to see whether they are installed
        import pydantic  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise click.UsageError(
            f"serving needs packages that are not installed ({error.name}): pip install 'llorch[serve]'"
        ) from error


def load_model(path: Path, device: str, mode: str) -> Model:
    """Load a model with its tokenizer."""
    from llorch import runtime

    with cli.progress(f"loading {path.name}"):
        model = runtime.load(path, device=device, mode=mode)
        try:
            _ = model.text
        except Exception:
            model.close()
            raise
    return model


def read_keys(file: Path | None, environment: Mapping[str, str]) -> list[str]:
    """Read API keys from the file, else one from the environment. UnsupportedInput for an empty file or a long key."""
    if file is None:
        return [key] if (key := environment.get(KEY_VARIABLE, "").strip()) else []
    with file.open(encoding="utf-8", errors="surrogateescape") as lines:
        keys = [key for line in lines if (key := line.strip())]
    if not keys:
        raise UnsupportedInput("holds no key", path=file, hint="write one a line")
    if any(len(key) > KEY_BYTES for key in keys):
        raise UnsupportedInput(f"holds a key of more than {KEY_BYTES} characters", path=file)
    return keys


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address; of names only localhost, since others may change."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def cache_bytes() -> int:
    """Return the bytes for the KV cache: half of the free memory, at least 1 GiB."""
    pages = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else 0
    return max(1 << 30, pages * os.sysconf("SC_PAGE_SIZE") // 2)


def say_ready(uri: str, settings: Settings, card: Card, *, as_json: bool) -> None:
    """Print the server's address, once it accepts requests."""
    if as_json:
        ready = {"uri": uri, "model": card.name, "worker_id": settings.worker_id}
        cli.write_json({"schema": "llorch.serve/v1", **ready})
    else:
        click.echo(f"{card.name} is served at {uri}")


async def until_signalled(server: Server) -> None:
    """Serve until a signal: the first one drains, a second one ends the server at once and raises Signalled."""
    import asyncio  # as in `serve`

    loop = asyncio.get_running_loop()
    first: list[float] = []
    forced: list[int] = []

    def end(number: int) -> None:
        now = time.monotonic()
        if first and now - first[0] < TOGETHER_S:
            return
        if first:
            forced.append(number)
        first.append(now)
        server.drain()

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, end, number)
    await server.run()
    if forced:
        raise Signalled(forced[0])
