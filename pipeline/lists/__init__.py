"""What lists, labels and annotations say of videos: one reader of names, lists and times for all who read them.

It knows files and their forms, and nothing of stages, artifacts or the detector: those join it to their own models.
"""


class ListError(ValueError):
    """A list, a table or annotations that cannot be read, or can be read in two ways.

    The message names file, line and, where it can, column, and the remedy.
    """
