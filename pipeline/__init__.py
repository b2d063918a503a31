"""From video files to Parquet shards: staged, fingerprinted, resumable. Never imports `dbvad`."""
