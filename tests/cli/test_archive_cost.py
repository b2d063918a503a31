"""The costs of an archive follow from its assumptions, and docs/performance.md shows the default ones."""

import re
from pathlib import Path

import pytest

from tools.archive_cost import Archive, Costs, plan

PAGE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()


def amounts(archive: Archive, costs: Costs) -> dict[str, float]:
    return {what: amount for what, amount, _, _ in plan(archive, costs)}


def test_an_hour_by_hand() -> None:
    found = amounts(Archive(hours=1, fps=16, megapixels=1, mbit=8, length=60, described=1),
                    Costs(decode_s=0.5, jpeg_s=1, jpeg_mb=0.5, clip_gflop=10, gpu_tflops=0.01, gpu_share=0.5,
                          describe_s=3600, core_price=2, gpu_price=3, tb_month_price=0))
    assert found == pytest.approx({
        "videos": 1, "decode": 8, "pictures kept": 1, "score": 2, "describe": 1, "videos to read": 0.0036,
        "decode shards": 0.0018, "features": 3600 * 1024 / 1e12, "shards": 3, "computing": 27,
        "keeping features": 0, "keeping pictures": 0})


@pytest.mark.parametrize(("row", "name"), [
    ("decode", "decode"), ("pictures", "pictures kept"), ("score", "score"), ("describe", "describe"),
    ("videos to read", "videos to read"), ("decode shards", "decode shards"), ("features", "features"),
    ("computing", "computing")])
def test_the_page_shows_the_defaults(row: str, name: str) -> None:
    shown = re.search(rf"^\| {row} \| ([\d.]+) ", PAGE, re.MULTILINE)
    assert shown
    assert float(shown[1]) == pytest.approx(amounts(Archive(), Costs())[name], rel=0.02, abs=0.06)
