"""The tap: a small proxy before a model server that splits, counts and falls back. It judges nothing.

The contract with the operator is `design/0012-serving-and-tap.md`.
"""
