"""Kubeflow Pipelines 2.x: compile, run in containers, try out without a cluster, submit and schedule."""
