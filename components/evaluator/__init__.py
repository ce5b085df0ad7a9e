"""Judges models, and compares those that can be compared."""
