"""`python3 -m vllm.entrypoints.openai.api_server` of the stand-in's image: answers at once, and as adapters ask for.

Takes vLLM's command line, of which it heeds --port alone. Listens on loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from hack.images.standin.upstream import Forgetful, Upstream


async def serve(port: int) -> None:
    """Serve until told to stop."""
    over = asyncio.Event()
    # As process 1 of a container it would not even die of the signal by itself.
    for known in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(known, over.set)
    async with Upstream(check_paths=True, port=port, seen=Forgetful()):
        await over.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, default=8000)
    asyncio.run(serve(parser.parse_known_args()[0].port))


if __name__ == "__main__":
    main()
