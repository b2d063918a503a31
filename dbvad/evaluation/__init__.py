"""Scores against the truth: annotations, metrics, localisation, results of several seeds."""
