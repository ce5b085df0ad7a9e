"""A pushed model at work: loading, prediction, evaluation on a data set, and the local page."""
