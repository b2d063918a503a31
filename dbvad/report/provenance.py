"""How the figures came about: facts of the run, and how the shards of each stage were made."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.contracts import STAGES
from pipeline.engine.shard import Footer

Fact = tuple[str, str]
KEPT = ("decoder", "crops", "dim", "snippet_frames", "model", "precision", "feature_source", "source")


@dataclass
class Making:
    """Counts, stage by stage, in how many ways the shards were made."""

    ways: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, footers: Mapping[str, Footer]) -> None:
        """The footers of one video, by stage."""
        for stage, footer in footers.items():
            facts = {key: footer.meta[key] for key in KEPT if key in footer.meta}
            way = flat(footer.basis.get("params") or {}) + flat(facts)
            self.ways[stage][json.dumps(list(dict(way).items()), ensure_ascii=False)] += 1

    def stages(self) -> list[dict[str, Any]]:
        """For the page: stage, number of videos, and each way with the number of videos made so."""
        return [{"stage": stage, "videos": self.ways[stage].total(),
                 "ways": [{"videos": n, "facts": json.loads(way)} for way, n in self.ways[stage].most_common(5)]}
                for stage in STAGES if stage in self.ways]


def run_facts(result: Mapping[str, Any] | None) -> list[tuple[str, list[Fact]]]:
    """Groups of facts of a result: what was evaluated, by which protocol, against which truth, with which settings."""
    if result is None:
        return []
    provenance = dict(result.get("provenance") or {})
    config, versions = provenance.pop("config", None), provenance.pop("versions", None)
    groups = [("Model", provenance), ("Protocol", result.get("protocol")), ("Truth", result.get("annotations")),
              ("Training settings", config), ("Versions", versions)]
    return [(title, flat(facts)) for title, facts in groups if isinstance(facts, dict) and facts]


def flat(facts: Mapping[str, Any], prefix: str = "") -> list[Fact]:
    """Nested facts as (name, text); empty ones are left out."""
    rows: list[Fact] = []
    for key, value in facts.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += flat(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            if value:
                text = ", ".join(map(str, value[:8])) + (f" and {len(value) - 8} more" if len(value) > 8 else "")
                rows.append((name, text))
        elif value is not None and value != "":
            rows.append((name, ("no", "yes")[value] if isinstance(value, bool) else str(value)))
    return rows
