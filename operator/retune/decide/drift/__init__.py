"""Whether the world of a model has changed. Pure: numpy and scipy.special, no clock, no I/O, no chance. Door: `watch`.

From the design's page 3-evidence, "Drift"; what simulations settled or changed is in design/0016.
"""
