"""The training loop, its configuration, losses, checkpoints and processes."""
