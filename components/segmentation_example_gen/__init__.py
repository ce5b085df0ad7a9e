"""SegmentationExampleGen: pictures and masks of many kinds to TFRecords, every pair checked on the way."""
