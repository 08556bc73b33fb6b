"""Carries decisions out, idempotently: manifests, writes to the API server, events. Decides nothing."""
