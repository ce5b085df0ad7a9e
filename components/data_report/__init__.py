"""DataReport: a page that shows what is in the data, split beside split, now and in the run before."""
