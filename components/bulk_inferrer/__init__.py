"""Predicts the masks of whole TFRecords."""
