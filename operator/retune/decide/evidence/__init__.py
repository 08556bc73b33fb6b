"""The statistics of the canary. Pure: numpy and scipy.special, no clock, no I/O, no chance. The door is `judge`.

From the design's page 3-evidence; what simulations settled or changed is in design/0013.
"""
