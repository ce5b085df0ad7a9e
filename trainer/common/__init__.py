"""What other packages may import from the trainer: files, metrics, confusion matrices, drawing, training history."""
