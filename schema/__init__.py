"""The curated schema of the TFRecords."""
