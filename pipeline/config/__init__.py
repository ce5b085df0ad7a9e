"""The configuration: the tree, its sections, loading with error messages, and the generated reference."""
