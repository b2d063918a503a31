"""The scores of a recording while it is being made.

After each snippet the network sees the window of the trained length that ends there (all there is, while that is less).
What is said of a snippet is, at every moment, what `--scale windows` gives it on the recording cut at that moment:

- at once: the score of the newest snippet, or of the one `look_ahead` snippets before it;
- final: once the snippet has left the window, `length` snippets later. No longer recording changes it again.
"""

from collections import deque

import numpy as np

Row = tuple[int, np.ndarray]  # a snippet's place in the recording, and its columns (K,)


class LookAheadError(ValueError):
    """A look-ahead that the model's window does not allow."""


class Windows:
    """One recording. Let the network score each window that `add` returns, and hand the scores to `take`, in order.

    Several windows may be asked for before the scores of the first are there.
    """

    def __init__(self, length: int, look_ahead: int = 0) -> None:
        """`length`: snippets that the model was trained on. Raises LookAheadError unless 0 <= look_ahead < length."""
        if not 0 <= look_ahead < length:
            raise LookAheadError(f"a look-ahead of {look_ahead} snippets: 0 to {length - 1} with this model")
        self.length, self.step, self.look_ahead = length, max(1, length // 2), look_ahead
        self.total = 0  # snippets added
        self._taken = 0  # windows whose scores came back
        self._rows: deque[np.ndarray] = deque(maxlen=length)
        self._sums = np.zeros((0, 0))  # (n, K) over the windows that any longer recording has too
        self._counts = np.zeros(0)
        self._now = np.zeros((0, 0))  # (n, K) of the window's snippets, were the recording to end here

    def add(self, feature: np.ndarray) -> np.ndarray:
        """One snippet more, (crops, D) -> the window that ends with it, (n, crops, D), n <= length."""
        self.total += 1
        self._rows.append(feature)
        return np.stack(self._rows)

    def take(self, scores: np.ndarray) -> tuple[Row | None, list[Row]]:
        """Columns (n, K) of a window: the snippet that is due and its row, and the one that is final now."""
        self._taken += 1
        ahead = self._taken - self.length
        left = [(ahead - 1, self._sums[0] / self._counts[0])] if ahead > 0 else []
        kept = slice(len(left), None)
        sums = self._sums[kept] if self._taken > 1 else np.zeros((0, scores.shape[1]))
        self._sums = np.concatenate([sums, np.zeros((1, scores.shape[1]))])
        self._counts = np.append(self._counts[kept], 0.0)
        self._now = (self._sums + scores) / (self._counts + 1)[:, None]
        if ahead >= 0 and ahead % self.step == 0:  # a window of every longer recording
            self._sums, self._counts = self._sums + scores, self._counts + 1
        due = len(scores) - 1 - self.look_ahead
        return (max(0, ahead) + due, self._now[due]) if due >= 0 else None, left

    def end(self) -> tuple[list[Row], list[Row]]:
        """The recording ends here: the snippets still due with their rows, and those not final before."""
        now = [(self._taken - len(self._now) + k, row) for k, row in enumerate(self._now)]
        return now[max(0, len(now) - self.look_ahead):], now
