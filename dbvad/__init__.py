"""The detector: consumes the pipeline's artifacts, trains, evaluates, detects, reports."""

__version__ = "0.1.0"
