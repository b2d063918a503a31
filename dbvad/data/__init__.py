"""From artifacts to training data: the index of videos, their features, balanced batches."""
