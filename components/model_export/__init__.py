"""Converts the network of a model for other runtimes, and measures what that costs in mean IoU."""
