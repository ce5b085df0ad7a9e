"""What runs inside Transform and Trainer: preprocessing, input, DeepLabV3+, loss, training and serving signatures."""
