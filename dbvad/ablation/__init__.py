"""Ablations: named variants of one training over several seeds, as a resumable grid with a table at its end."""
