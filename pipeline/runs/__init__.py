"""Runs on one machine: the local runner, their results, and the list of runs."""
