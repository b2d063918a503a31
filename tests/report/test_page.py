"""The page itself: offline, complete, readable by machines and people, and never broken by what is missing."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dbvad.report import page as writing
from dbvad.report.content import choose
from dbvad.report.inputs import Inputs, Video, read_inputs
from dbvad.report.judge import Judged
from dbvad.report.page import write_report
from pipeline.engine.files import write_record
from tests.chromium import CHROMIUM, needs_chromium
from tests.report.planted import VIDEOS, Planted, annotate, evaluated, publish

ODD = Planted("train/fight/ünd \"<img src=x>\" & 100%_#1.mp4", "train", "<b>fight</b>", (48, 64))


class Page(HTMLParser):
    """Tags with their attributes, and the text of each script by its id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text: list[str] = []
        self._script: str | None = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._script = dict(attrs).get("id") if tag == "script" else None

    def handle_endtag(self, tag):
        self._script = None if tag == "script" else self._script

    def handle_data(self, data):
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def videos(self) -> list[dict]:
        return [json.loads(text) for name, text in self.scripts.items() if name.startswith("data-")]


@pytest.fixture(autouse=True)
def _small_library(monkeypatch):
    """Plotly is 5 MB; the tests that look at the whole page undo this."""
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "/* plotly */")


@pytest.fixture
def inputs(tmp_path) -> Inputs:
    videos = (*VIDEOS, ODD)
    store = publish(tmp_path / "artifacts", videos)
    run = evaluated(tmp_path / "run", annotate(tmp_path / "temporal.txt", VIDEOS), videos)
    write_record(run / "ladder.json", {
        "rows": [{"name": "+ TMM", "seeds": [0, 1], "metrics": {"auc": {"mean": 0.861, "std": 0.004}}}]})
    return read_inputs(store, run, None, "auto")


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path, inputs, monkeypatch):
    monkeypatch.undo()  # with the real library
    out = tmp_path / "report" / "index.html"
    written = write_report(inputs, out)
    assert list(out.parent.iterdir()) == [out]
    assert (written.files, written.bytes, written.missing) == (0, out.stat().st_size, {})
    page = Page(out.read_text(encoding="utf-8"))
    addresses = [value for _, attributes in page.tags for name, value in attributes.items()
                 if name in ("src", "href", "srcset", "action", "poster", "data")]
    assert addresses
    assert all(re.match(r"#|data:", address or "") for address in addresses)
    style = "".join(re.findall(r"<style>(.*?)</style>", out.read_text(encoding="utf-8"), re.S))
    assert not re.search(r"url\(|@import", style)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "Plotly" in page.scripts["plotly"]


def test_what_the_evaluation_warned_of_stands_below_its_figures(tmp_path, inputs):
    warning = {"kind": "unknown_name", "text": "e.csv names what is no video here", "names": ["<typo>", "b"]}
    out = tmp_path / "index.html"
    write_report(replace(inputs, result=dict(inputs.result) | {"warnings": [warning]}), out)
    assert "Warning: e.csv names what is no video here (2): &lt;typo&gt;, b." in out.read_text(encoding="utf-8")


def test_every_video_is_listed_and_its_data_lie_in_the_page(tmp_path, inputs):
    out = tmp_path / "index.html"
    write_report(inputs, out)
    page = Page(out.read_text(encoding="utf-8"))
    assert {video["id"] for video in page.videos} == {video.video_id for video in (*VIDEOS, ODD)}
    listed = [attributes for attributes in page.all("a") if "data-n" in attributes]
    assert len(listed) == 6
    assert {a["data-split"] for a in listed} == {"train", "test"}
    described = next(video for video in page.videos if video["id"] == "train/fight/d.mp4")
    assert described["text"]["text"] == "Two men fight <b>hard</b>. </script>"
    assert not [attributes for attributes in page.all("img") if attributes.get("src") == "x"]  # ODD's name is no tag


def test_pictures_have_texts_and_charts_have_names(tmp_path, inputs):
    out = tmp_path / "index.html"
    write_report(inputs, out)
    page = Page(out.read_text(encoding="utf-8"))
    assert page.all("img")
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert all(attributes.get("aria-label") for _, attributes in page.tags if attributes.get("role") == "img")
    assert all(attributes.get("aria-hidden") for attributes in page.all("svg"))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_both_themes_set_every_colour():
    style = (Path(writing.__file__).parent / "style.css").read_text()
    colours = r"--(\w+): (?:#|rgba)"
    light, dark = (set(re.findall(colours, block)) for block in re.findall(r":root \{(.*?)\}", style, re.S))
    assert light == dark != set()
    assert set(re.findall(r"var\(--(\w+)\)", style)) <= light | {"gap", "left"}
    script = (Path(writing.__file__).parent / "report.js").read_text()
    assert set(re.findall(r'colour\("(\w+)"\)', script)) <= light


def test_figures_intervals_and_curves(tmp_path, inputs):
    out = tmp_path / "index.html"
    write_report(inputs, out)
    html = out.read_text(encoding="utf-8")
    assert "91.23" in html
    assert "85.00 to 95.00" in html
    assert "86.10 ± 0.40" in html
    assert "Results of" in html
    assert f"{tmp_path.name}/run" in html
    assert "0.0001" in html  # a training setting
    page = Page(html)
    assert set(json.loads(page.scripts["curves"])) == {"false_rate", "true_rate", "recall", "precision"}
    assert not re.search(r"\b(nan|None)\b", re.sub(r"<script.*?</script>|<style>.*?</style>", "", html, flags=re.S))


def test_the_same_inputs_give_the_same_bytes(tmp_path, inputs):
    one, two = tmp_path / "one.html", tmp_path / "two.html"
    write_report(inputs, one)
    write_report(inputs, two)
    assert one.read_bytes() == two.read_bytes()


def test_many_videos_lie_beside_the_page(tmp_path, inputs, monkeypatch):
    monkeypatch.setattr(writing, "ONE_PAGE", 3)
    out = tmp_path / "report.html"
    written = write_report(inputs, out)
    folder = tmp_path / "report-data"
    assert sorted(file.name for file in folder.iterdir()) == [f"{k}.js" for k in range(6)]
    assert written.files == 6
    page = Page(out.read_text(encoding="utf-8"))
    assert page.videos == []
    assert next(a for _, a in page.tags if a.get("id") == "viewer")["data-folder"] == "report-data"
    for link in (attributes for attributes in page.all("a") if "data-n" in attributes):
        text = (folder / f"{link['data-n']}.js").read_text(encoding="utf-8")
        call = re.fullmatch(rf"receive\({link['data-n']},(.*)\)\n", text, re.S)
        assert call is not None
        assert json.loads(call[1])["split"] == link["data-split"]
    # A smaller report takes away what the larger one left; another's file stays.
    write_report(inputs, out, max_videos=4)
    assert len(list(folder.iterdir())) == 4
    (folder / "mine.txt").touch()
    write_report(inputs, out, max_videos=3)
    assert [file.name for file in folder.iterdir()] == ["mine.txt"]


def test_a_limit_keeps_the_best_and_the_worst():
    videos = [Video(f"{k:03d}", "test", ("fire",)) for k in range(100)]
    videos += [Video(f"n{k:03d}", "test", ()) for k in range(50)] + [Video(f"t{k:03d}", "train", ()) for k in range(50)]
    judged = {video.video_id: Judged(video.video_id, (k * 37 % 100) / 100 if video.labels else float("nan"), k / 200, 0)
              for k, video in enumerate(videos) if video.split == "test"}
    everything = choose(videos, judged, None)
    few = choose(videos, judged, 12)
    assert len(everything.videos) == 200
    assert [sum(video.split == split for video in few.videos) for split in ("test", "train")] == [9, 3]
    worst, quietest = few.videos[0], few.videos[8]
    assert judged[worst.video_id].auc == 0
    assert quietest.video_id == "n000"
    assert [judged[video_id].auc for video_id in everything.extremes["Worst"]] == [0, 0.01, 0.02, 0.03]
    assert [judged[video_id].auc for video_id in everything.extremes["Best"]] == [0.99, 0.98, 0.97, 0.96]
    assert everything.extremes["Most alarming normal videos"][0] == "n049"
    assert judged[everything.first].auc == 0.5
    assert [video.video_id for video in choose(videos, judged, 1).videos] == [worst.video_id]


def test_a_video_is_never_both_among_the_best_and_the_worst():
    videos = [Video(str(k), "test", ("fire",)) for k in range(3)]
    chosen = choose(videos, {v.video_id: Judged(v.video_id, int(v.video_id) / 2, 1, 0) for v in videos}, None)
    assert (chosen.extremes["Worst"], chosen.extremes["Best"]) == (("0", "1"), ("2",))


@pytest.mark.parametrize("lacking", ["run", "scores.parquet", "result.json", "annotations", "decode", "score",
                                     "select", "describe", "ingest"])
def test_each_missing_part_leaves_a_sentence_and_a_page(tmp_path, lacking):
    store = publish(tmp_path / "artifacts")
    annotations = None if lacking == "annotations" else annotate(tmp_path / "temporal.txt")
    run = evaluated(tmp_path / "run", annotations, **({"metrics": {"video_auc": 0.7}, "intervals": {}}
                                                      if annotations is None else {}))
    if lacking.endswith((".json", ".parquet")):
        (run / lacking).unlink()
    elif lacking in ("decode", "score", "select", "describe", "ingest"):
        shutil.rmtree(tmp_path / "artifacts" / lacking)
    inputs = read_inputs(store, None if lacking == "run" else run, None, "auto")
    written = write_report(inputs, tmp_path / "index.html")
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    said = " ".join(page.text)
    remedy = {"run": "dbvad train", "scores.parquet": "dbvad evaluate", "result.json": "dbvad evaluate",
              "annotations": "--annotations FILE", "score": "pipeline run score", "describe": "pipeline run describe",
              "decode": "pipeline run decode", "select": "pipeline run select",
              "ingest": "pipeline run ingest"}[lacking]
    assert remedy in said
    assert len(page.videos) == 5 == written.videos


def test_the_command(tmp_path):
    """Without torch: a report must not need the detector's libraries."""
    publish(tmp_path / "artifacts")
    run = evaluated(tmp_path / "run", annotate(tmp_path / "temporal.txt"))
    code = "import sys; from dbvad.cli import main\ntry: main(sys.argv[1:])\nfinally: print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "report", str(run), "--artifacts", str(tmp_path / "artifacts"),
               "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    told, torch = done.stdout.rsplit("\n", 2)[:2]
    assert json.loads(told)["videos"] == 5
    assert json.loads(told)["page"] == str(tmp_path / "out" / "index.html")
    assert torch == "False"
    failed = subprocess.run([*command[:3], "report", str(tmp_path / "no"), "--artifacts", str(tmp_path)],
                            capture_output=True, text=True)
    assert failed.returncode == 1
    assert "dbvad train" in failed.stderr
    assert "Traceback" not in failed.stderr


@needs_chromium
def test_the_page_draws_itself_in_a_browser(tmp_path, inputs, monkeypatch):
    monkeypatch.undo()  # with the real library
    monkeypatch.setattr(writing, "ONE_PAGE", 3)
    write_report(inputs, tmp_path / "index.html")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom",
        (tmp_path / "index.html").as_uri() + "#video/train/fight/d.mp4"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    except subprocess.TimeoutExpired:
        pytest.skip("Chromium took too long on this machine")
    assert "CONSOLE" not in done.stderr, done.stderr
    viewer = done.stdout.split('id="viewer"')[1].split('class="browse"')[0]
    assert "<h3>train/fight/d.mp4</h3>" in viewer
    assert "main-svg" in viewer
    assert "Two men fight &lt;b&gt;hard&lt;/b&gt;." in viewer
    assert viewer.count("Key frame of train/fight/d.mp4") >= 12
