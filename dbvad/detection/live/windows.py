"""The scores of a recording while it is being made.

After each snippet the network sees the window of the trained length that ends there (all there is, while that is less).
What is said of a snippet is, at every moment, what `--scale windows` gives it on the recording cut at that moment:

- at once: the score of the newest snippet, or of the one `look_ahead` snippets before it;
- final: once the snippet has left the window, `length` snippets later. No longer recording changes it again.
"""

from collections import deque

import numpy as np


class LookAheadError(ValueError):
    """A look-ahead that the model's window does not allow."""


class Windows:
    """One recording. Call `add`, let the network score the window that it returns, and hand the scores to `take`."""

    def __init__(self, length: int, look_ahead: int = 0) -> None:
        """`length`: snippets that the model was trained on. Raises LookAheadError unless 0 <= look_ahead < length."""
        if not 0 <= look_ahead < length:
            raise LookAheadError(f"a look-ahead of {look_ahead} snippets: 0 to {length - 1} with this model")
        self.length, self.step, self.look_ahead = length, max(1, length // 2), look_ahead
        self.total = 0
        self._rows: deque[np.ndarray] = deque(maxlen=length)
        self._sums: deque[float] = deque(maxlen=length)  # over the windows that any longer recording has too
        self._counts: deque[int] = deque(maxlen=length)
        self._now = np.zeros(0)  # scores of the window's snippets, were the recording to end here
        self._left: list[tuple[int, float]] = []  # the snippet that left the window with the last `add`

    def add(self, feature: np.ndarray) -> np.ndarray:
        """One snippet more, (crops, D) -> the window that ends with it, (n, crops, D), n <= length."""
        full = len(self._rows) == self.length
        self._left = [(self.total - self.length, float(self._sums[0] / self._counts[0]))] if full else []
        self.total += 1
        self._rows.append(feature)
        self._sums.append(0.0)
        self._counts.append(0)
        return np.stack(self._rows)

    def take(self, scores: np.ndarray) -> tuple[tuple[int, float] | None, list[tuple[int, float]]]:
        """Scores (n,) of the window: the snippet that is due and its score, and the one that is final now."""
        sums, counts, ahead = np.array(self._sums), np.array(self._counts), self.total - self.length
        self._now = (sums + scores) / (counts + 1) if ahead > 0 else scores
        if ahead >= 0 and ahead % self.step == 0:  # a window of every longer recording
            self._sums = deque((sums + scores).tolist(), self.length)
            self._counts = deque((counts + 1).tolist(), self.length)
        due = len(scores) - 1 - self.look_ahead
        return (max(0, ahead) + due, float(self._now[due])) if due >= 0 else None, self._left

    def end(self) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
        """The recording ends here: the snippets still due with their scores, and those not final before."""
        now = [(self.total - len(self._now) + k, float(score)) for k, score in enumerate(self._now)]
        return now[max(0, len(now) - self.look_ahead):], now
