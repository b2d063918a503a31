"""The embedded world: rendered CCTV videos and small real models trained on them: the whole method, offline."""
