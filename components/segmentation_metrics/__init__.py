"""Mean IoU and its kin as a TFMA metric, whose formulas are in `trainer.metrics`."""
