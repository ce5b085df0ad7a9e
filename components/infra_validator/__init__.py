"""Tries out a model in a fresh process, as a server would run it, before it is pushed."""
