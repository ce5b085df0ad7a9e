"""The record of finished runs in the object store, which only Kubeflow needs."""
