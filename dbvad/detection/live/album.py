"""The last pictures of a camera with their scores, from which those to show of an event are chosen.

They are the JPEGs that CLIP was shown, the same bytes, so keeping them costs neither decoding nor a second reading of
the disk, and a camera works the same with no ring of packets (`--disk-gb 0`) as with one.
"""

from collections import deque

import numpy as np

from dbvad.detection.explain import key_snippets
from dbvad.detection.live.reader import Shot
from dbvad.scoring.events import Snippet

PICTURES = 128  # at most: a few MB a camera


class Album:
    """Of one connection. `see` the first picture of each snippet in order, `take` the snippet once it is scored."""

    def __init__(self, look_ahead: int = 0) -> None:
        """`look_ahead`: snippets that are seen before one is scored."""
        self._seen: deque[Shot] = deque(maxlen=PICTURES + look_ahead)  # not scored yet
        self._scored: deque[tuple[Shot, Snippet]] = deque(maxlen=PICTURES)

    def see(self, shot: Shot) -> None:
        """The picture of a snippet that is going to be scored, as an archive would show it: its first."""
        self._seen.append(shot)

    def take(self, snippet: Snippet) -> None:
        """A score; it goes to the snippet's picture."""
        while self._seen and self._seen[0].index < snippet.start_frame:
            self._seen.popleft()
        if self._seen and self._seen[0].index == snippet.start_frame:
            self._scored.append((self._seen.popleft(), snippet))

    def key(self, start_s: float, end_s: float) -> list[Shot]:
        """The pictures to show of what happened between two stream times, in order: KESS on the scores."""
        inside = [(shot, snippet.score, snippet.start_s) for shot, snippet in self._scored
                  if snippet.end_s > start_s and snippet.start_s < end_s]
        scores, times = (np.array([one[column] for one in inside]) for column in (1, 2))
        return [inside[place][0] for place in key_snippets(scores, times)]
