"""Starts one of the tap image's programs: `serve` (the proxy), `fetch` (the base model, before), `redact` (by `serve`).

Each is imported only when it is asked for: they need different libraries, and are processes of their own.
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
        case ["redact", kinds]:
            from retune_tap.redact import main as redact

            return redact(kinds)
        case _:
            sys.stderr.write("usage: python -m retune_tap serve|fetch\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
