"""VocExampleGen: a Pascal VOC devkit to TFRecords, every picture and mask checked on the way."""
