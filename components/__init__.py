"""TFX components of our own, and the metrics that the Evaluator computes: one folder per component."""
