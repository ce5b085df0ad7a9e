"""Pushes blessed models to a folder or into an object store."""
