"""Training: the step, optimizer, losses, callbacks, checkpoints, evaluation while training, devices."""
