"""Retune."""
