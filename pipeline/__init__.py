"""The graph, the typed configuration, the local runner and the `deeplab` command."""
