"""What one step writes and another reads: one definition of each document, file name and artifact type."""
