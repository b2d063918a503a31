"""From features to scores: what evaluation and detection share."""
