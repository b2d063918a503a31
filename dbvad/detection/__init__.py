"""The trained detector at work: on an archive of recordings, on a camera, from Python."""
