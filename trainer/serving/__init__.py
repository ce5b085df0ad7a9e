"""What is exported: signatures, the argmax of logits, the network in other formats."""
