"""Input of the network: preprocessing (Transform's function), batches, augmentation, checks of encoded images."""
