"""The videos of a dataset in columns: a million of them take 0.4 GB, as objects they would take 1.5."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from pipeline.engine.remote.scratch import Stored
from pipeline.engine.stage import BadVideo, Source

Where = tuple[Path, Stored | None]


@dataclass(frozen=True)
class Sources(Sequence[Source]):
    """What `Source` says of each video; sources are made as they are asked for.

    `problems`: by the video's number. `where`: path, and place in a bucket.
    """

    ids: list[str]
    hashes: list[str]
    sizes: list[int]
    facts: list[Mapping[str, Any]]
    problems: Mapping[int, BadVideo]
    where: Callable[[int], Where]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, number: int) -> Source: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Source]: ...
    def __getitem__(self, number: int | slice) -> Source | Sequence[Source]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        path, stored = self.where(number)
        return Source(self.ids[number], path, self.hashes[number], self.sizes[number], self.facts[number],
                      self.problems.get(number), stored=stored)

    def __iter__(self) -> Iterator[Source]:
        return map(self.__getitem__, range(len(self)))


def in_columns(sources: Sequence[Source]) -> Sources:
    """Sources that lie in a list, say, as columns."""
    if isinstance(sources, Sources):
        return sources
    return Sources([source.video_id for source in sources], [source.hash for source in sources],
                   [source.size for source in sources], [source.facts for source in sources],
                   {number: source.problem for number, source in enumerate(sources) if source.problem},
                   lambda number: (sources[number].path, sources[number].stored))
