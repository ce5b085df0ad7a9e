"""Names of the files in a folder of predicted masks, which lie beside the model's `labels.json`."""

PREDICTIONS = "predictions"
"""What the names of the TFRecord files with masks begin with."""
PREDICTIONS_SUFFIX = ".tfrecord.gz"
MASK_FILES = f"{PREDICTIONS}-*{PREDICTIONS_SUFFIX}"
"""Pattern of their names; Beam puts the number of each, of how many, in between."""
PROBLEMS_FILE = "problems.jsonl"
"""A line of JSON, `Problem`, for each image that has no mask; empty if all have one."""
