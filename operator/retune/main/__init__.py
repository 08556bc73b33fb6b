"""Wiring: kopf handlers that cache and enqueue a key, the queue and its workers, leadership, settings, metrics."""
