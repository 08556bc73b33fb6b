"""Starts one of the tap image's programs: `serve` (the proxy) or `fetch` (the base model, before the server starts).

Each is imported only when it is asked for: they need different libraries, and start in different containers.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run the program that the first argument names and answer its exit status."""
    match arguments:
        case ["serve"]:
            from retune_tap.serve import main as serve

            return serve()
        case ["fetch"]:
            from retune_tap.fetch import main as fetch

            return fetch()
        case _:
            sys.stderr.write("usage: python -m retune_tap serve|fetch\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
