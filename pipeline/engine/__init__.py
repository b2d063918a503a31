"""The engine: carries out fingerprinted (stage, video) units. Knows nothing of video, imports no stage."""
