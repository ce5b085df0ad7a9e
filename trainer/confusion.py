"""Segmentation metrics as functions of a confusion matrix.

A confusion matrix is int64[C, C]: pixels by label (row) and prediction (column), ignored pixels left out, summed over
the pictures of a data set. Definitions: Long et al. 2015 (arXiv:1411.4038), section 5.
"""

from __future__ import annotations

import numpy as np


def iou_per_class(confusion_matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, float64[C]; NaN for a class that neither labels nor predictions have."""
    intersection = np.diag(confusion_matrix).astype(np.float64)
    union = confusion_matrix.sum(axis=0) + confusion_matrix.sum(axis=1) - intersection
    return np.divide(intersection, union, out=np.full_like(intersection, np.nan), where=union > 0)


def mean_iou(confusion_matrix: np.ndarray) -> float:
    """Mean of `iou_per_class` over the classes that are there; NaN if no pixel was counted."""
    iou = iou_per_class(confusion_matrix)
    present = ~np.isnan(iou)
    return float(iou[present].mean()) if present.any() else float("nan")


def pixel_accuracy(confusion_matrix: np.ndarray) -> float:
    """Share of the pixels whose prediction is their label; NaN if no pixel was counted."""
    total = confusion_matrix.sum()
    return float(np.trace(confusion_matrix) / total) if total else float("nan")
