"""The `deeplab` command: one Typer app per file, added together in `main`."""
