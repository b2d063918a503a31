"""Artifacts and videos in a bucket of an S3-compatible store, behind a local mirror."""
