"""Layers and checkpoints to networks."""
