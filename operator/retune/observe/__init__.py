"""Turns the outside into plain facts: object caches, pod progress, refusals. Reads only; decides nothing."""
