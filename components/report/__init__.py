"""Report: a page of a run, from the data to the verdict, with the pictures that the model does worst and best on."""
