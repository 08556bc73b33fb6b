"""`kubectl retune`: what a person asks and tells the operator, with that person's own rights and nothing else.

Knows the API server only. Every read is an object of the API, every write is an annotation under retune.dev.
"""
