"""What a run leaves behind for the next one, in an object store, where there is no metadata store to ask."""
