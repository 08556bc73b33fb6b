"""Retune: a Kubernetes operator for the whole life of a fine-tuned model.

Data flows one way: `observe` turns the outside into facts, `decide` turns facts into decisions, `act` carries them out;
`main` wires them together, `api` is what users write. Import contracts in pyproject.toml hold the arrows.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("retune")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0.0.0"
