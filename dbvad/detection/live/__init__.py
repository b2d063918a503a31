"""Cameras: their streams read in processes of their own, scored together, events told as they happen."""
