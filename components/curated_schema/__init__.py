"""CuratedSchema: the schema that is written by hand, fitted to the classes, as an artifact."""
