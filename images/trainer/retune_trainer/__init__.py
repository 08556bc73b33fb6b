"""Retune's trainer: what a run's pods do, as design/0002-pod-contract.md says.

The light half (all modules but those under `learning`) imports neither torch nor transformers, so that preflight
starts at once and is tested without them.
"""

__version__ = "0.1.0"
