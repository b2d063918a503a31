"""Split and labels from folders, a CSV, and the official lists as they are published."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.config import ConfigError
from pipeline.stages.labels import Facts, from_csv, from_folders, from_ucf_crime, from_xd_violence

NORMAL_TRAIN, NORMAL_TEST = Facts("train", ()), Facts("test", ())


@pytest.mark.parametrize(("video_id", "facts"), [
    ("train/fight/a.mp4", Facts("train", ("fight",))),
    ("test/fight/deep/er/a.mp4", Facts("test", ("fight",))),
    ("Train/Normal/a.mp4", NORMAL_TRAIN),
    ("TEST/normal/a.mp4", NORMAL_TEST),
    ("train/a.mp4", None),
    ("a.mp4", None),
])
def test_folders_name_split_and_label(video_id: str, facts: Facts | None) -> None:
    assert from_folders("normal", 0.3)(video_id) == facts


def test_without_split_folders_videos_are_drawn_by_name() -> None:
    ids = [f"fight/v{number}.mp4" for number in range(2000)]
    drawn = list(map(from_folders("normal", 0.3), ids))
    assert 540 < drawn.count(Facts("test", ("fight",))) < 660
    assert drawn[::-1] == list(map(from_folders("normal", 0.3), ids[::-1]))  # each by itself, the same at every run


@given(st.text(min_size=1).filter(lambda name: "/" not in name and name not in (".", "..")))
def test_no_or_all_videos_may_be_test_videos(name: str) -> None:
    assert from_folders("normal", 0.0)(f"fight/{name}") == Facts("train", ("fight",))
    assert from_folders("normal", 1.0)(f"fight/{name}") == Facts("test", ("fight",))


@pytest.mark.parametrize(("ids", "facts"), [
    (["a/train/Fight/x.mp4", "b/val/NonFight/y.mp4"], [Facts("train", ("Fight",)), NORMAL_TEST]),
    (["train/Fight/x.mp4", "val/NonFight/y.mp4", "test/Fight/z.mp4"],
     [Facts("train", ("Fight",)), Facts("val", ()), Facts("test", ("Fight",))]),
    (["cam1/fight/x.mp4", "cam2/NonFight/y.mp4"], [Facts("train", ("fight",)), NORMAL_TRAIN]),
    (["fight/cam1/x.mp4", "nonfight/cam2/y.mp4"], [Facts("train", ("fight",)), NORMAL_TRAIN]),
    (["NonFight/x.mp4", "y.mp4"], [NORMAL_TRAIN, None]),
])
def test_the_level_of_the_normal_class_is_that_of_labels(ids: list[str], facts: list[Facts | None]) -> None:
    read = from_folders("NonFight", 0.0).over(ids)
    assert list(map(read, ids)) == facts
    assert bool(read.remarks()) == any("val" in video_id for video_id in ids)


class TestCsv:
    @staticmethod
    def read(folder: Path, text: str, video_id: str, encoding: str = "utf-8") -> Facts | None:
        path = folder / "labels.csv"
        path.write_text(text, encoding=encoding, newline="")
        return from_csv(path, "normal")(video_id)

    @pytest.mark.parametrize(("line", "facts"), [
        ("a.mp4,fight,test", Facts("test", ("fight",))),
        ("a.mp4, fight | arson ,train", Facts("train", ("fight", "arson"))),
        ("a.mp4,fight|fight,train", Facts("train", ("fight",))),
        ("a.mp4,,train", NORMAL_TRAIN),
        ("a.mp4,Normal,TEST", NORMAL_TEST),
        ("a.mp4,fight|normal", Facts("train", ("fight",))),
        ("a.mp4,fight, ", Facts("train", ("fight",))),
        ("a.mp4", NORMAL_TRAIN),
        ("a.mp4,fight,train,,", Facts("train", ("fight",))),
        ("a.mp4,fight,val", Facts("test", ("fight",))),
    ])
    def test_a_line(self, tmp_path: Path, line: str, facts: Facts) -> None:
        assert self.read(tmp_path, f"video,label,split\n{line}\n", "a.mp4") == facts

    @pytest.mark.parametrize(("given", "video_id", "known"), [
        ("cam 1/a.mp4", "cam 1/a.mp4", True),
        ("cam 1/a", "cam 1/a.mp4", True),
        ("a.mp4", "cam 1/a.mp4", True),
        ("a", "cam 1/a.mp4", True),
        ("a.b", "a.b.mp4", True),
        ("cam 1/a.mp4", "cam 2/a.mp4", False),  # two cameras write the same names
        ("cam 1/a.mp4", "a.mp4", False),
        ("b.mp4", "a.mp4", False),
    ])
    def test_which_video_a_line_means(self, tmp_path: Path, given: str, video_id: str, known: bool) -> None:
        assert (self.read(tmp_path, f"video,label\n{given},fight\n", video_id) is not None) is known

    def test_the_nearest_name_wins(self, tmp_path: Path) -> None:
        text = "video,label\na.mp4,one\nx/a.mp4,two\na.avi,three\n"
        labels = {video_id: facts and facts.labels for video_id in ("a.mp4", "x/a.mp4", "a.avi", "a.mkv", "y/a.mp4")
                  for facts in [self.read(tmp_path, text, video_id)]}
        assert labels == {"a.mp4": ("one",), "x/a.mp4": ("two",), "a.avi": ("three",), "a.mkv": None,
                          "y/a.mp4": ("one",)}

    def test_quotes_bom_and_windows_line_ends(self, tmp_path: Path) -> None:
        text = 'video,label,split\r\n"with, comma.mp4","say ""hi""",test\r\n\r\nübung.mp4,fight,train\r\n'
        assert self.read(tmp_path, text, "with, comma.mp4", "utf-8-sig") == Facts("test", ('say "hi"',))
        assert self.read(tmp_path, text, "übung.mp4", "utf-8-sig") == Facts("train", ("fight",))

    def test_columns_come_in_any_order(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, "split,note,label,video\ntest,x,fight,a.mp4\n", "a.mp4") == Facts("test", ("fight",))

    def test_the_same_line_twice_is_no_contradiction(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, "video,label\na.mp4,fight\na.mp4,fight\n", "a.mp4") == Facts("train", ("fight",))

    @pytest.mark.parametrize(("text", "message"), [
        ("video,label\na.mp4,fight\na.mp4,arson\n", "labels.csv:3: 'a.mp4' was given another label or split above"),
        ("video,label,split\n\na.mp4,x,tset\n", "labels.csv:3: split 'tset', expected train or test"),
        ("video,label,split\na.mp4,x,train,more\n", "labels.csv:2: 4 values for 3 columns: put quotes around"),
        ("label,video\nfight\n", "labels.csv:2: no video named"),
        ("video,label\n,fight\n", "labels.csv:2: no video named"),
        ("movie,label\na.mp4,x\n", "labels.csv:1: no column 'video'; the first line must name the columns video, "
                                   "label; it is 'movie,label'"),
        ("video:label\na.mp4:x\n", "labels.csv:1: no column 'video'"),
        ("video,label\na.mp4,0\nb.mp4,1\n", "labels.csv:2: the labels are 0 and 1: either 1 is an anomaly"),
        ("", "labels.csv:1: no column 'video'; the first line must name the columns video, label; it is ''"),
        ('video,label\n"a.mp4,fight\nb.mp4,x\n', "labels.csv: unexpected end of data"),
        ("video,label\na.mp4," + "x" * 200_000, "labels.csv: field larger than field limit"),
    ])
    def test_a_fault_names_file_and_line(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ConfigError) as error:
            self.read(tmp_path, text, "a.mp4")
        assert message in str(error.value)

    def test_no_file_and_no_text(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot read the labels"):
            from_csv(tmp_path / "none.csv", "normal")
        (tmp_path / "latin.csv").write_bytes(b"video,label\n\xfc.mp4,x\n")
        with pytest.raises(ConfigError, match="cannot read the labels"):
            from_csv(tmp_path / "latin.csv", "normal")


    def test_what_it_names_and_nobody_has_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "labels.csv"
        path.write_text("video,label,split\na,fight,train\nu\u0308.mp4,normal,valid\nold/b.mp4,fight,train\n")
        read = from_csv(path, "normal").over(["x/a.mp4", "\u00fc.mp4"])
        assert read("\u00fc.mp4") == NORMAL_TEST
        assert list(map(str, read.remarks())) == [
            "no split is called test, so the val split is taken for it",
            f"named in {path}, but no such video here (1): old/b.mp4"]


    def test_labels_that_differ_in_case_are_one_class(self, tmp_path: Path) -> None:
        path = tmp_path / "labels.csv"
        path.write_text("video,label\na,Fight\nb,fight|FIGHT\nc,normal\n")
        read = from_csv(path, "normal").over(["a.mp4", "b.mp4", "c.mp4"])
        assert [read(name) for name in ("a.mp4", "b.mp4")] == [Facts("train", ("Fight",))] * 2
        assert [remark.kind for remark in read.remarks()] == ["spelling"]
        folders = from_folders("normal", 0.0).over(["Fight/a.mp4", "fight/b.mp4", "normal/c.mp4"])
        assert folders("fight/b.mp4") == Facts("train", ("Fight",))
        assert [remark.kind for remark in folders.remarks()] == ["spelling"]


class TestUcfCrime:
    TRAIN = "Abuse/Abuse001_x264.mp4\nRoadAccidents/RoadAccidents133_x264.mp4\n" \
            "Training_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4\n"
    TEST = "Abuse/Abuse028_x264.mp4\nTesting_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4\n"

    @staticmethod
    def lists(folder: Path, train: str = TRAIN, test: str = TEST, encoding: str = "utf-8") -> tuple[Path, Path]:
        (folder / "train.txt").write_text(train, encoding=encoding)
        (folder / "test.txt").write_text(test, encoding=encoding)
        return folder / "train.txt", folder / "test.txt"

    @pytest.mark.parametrize(("video_id", "facts"), [
        ("Abuse/Abuse001_x264.mp4", Facts("train", ("Abuse",))),
        ("Abuse001_x264.mp4", Facts("train", ("Abuse",))),
        ("Anomaly-Videos-Part-1/Abuse/Abuse028_x264.mp4", Facts("test", ("Abuse",))),
        ("somewhere/else/RoadAccidents133_x264.mkv", Facts("train", ("RoadAccidents",))),
        ("Training-Normal-Videos-Part-1/Normal_Videos001_x264.mp4", NORMAL_TRAIN),
        ("Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4", NORMAL_TEST),
        ("Abuse/Abuse999_x264.mp4", None),
    ])
    def test_lists_hold_wherever_the_videos_lie(self, tmp_path: Path, video_id: str, facts: Facts | None) -> None:
        assert from_ucf_crime(*self.lists(tmp_path))(video_id) == facts

    def test_a_byte_order_mark_belongs_to_no_class(self, tmp_path: Path) -> None:
        read = from_ucf_crime(*self.lists(tmp_path, encoding="utf-8-sig"))
        assert read("Abuse001_x264.mp4") == Facts("train", ("Abuse",))

    @pytest.mark.parametrize(("test", "message"), [
        ("clip028_x264.mp4\n", r"test\.txt:1: 'clip028_x264\.mp4' is no entry of an official list"),
        ("\nclip028_x264.mp4  165  240\n", r"test\.txt:2: .* is no entry"),
        ("\nA/Odd/clip1.mp4\nB/Strange/clip2.mp4\n", r"test\.txt:2: which folder of .* is the class, 'A' or 'Odd'\?"),
        (TRAIN, r"test\.txt:1: Abuse001_x264\.mp4 was given another label or split"),
    ])
    def test_a_wrong_file_is_noticed(self, tmp_path: Path, test: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            from_ucf_crime(*self.lists(tmp_path, test=test))

    def test_a_missing_list(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cannot read the list .*none\.txt"):
            from_ucf_crime(tmp_path / "none.txt", tmp_path / "none.txt")


class TestXdViolence:
    TEST = "v=S-7rRLrxnVQ__#1_label_B4-0-0 0 1517 1970 3038\nBrick.Mansions.2014__#00-15-51_label_B1-0-0.mp4\n"

    @pytest.mark.parametrize(("video_id", "facts"), [
        ("1-1004/A.Beautiful.Mind.2001__#00-01-45_00-02-50_label_A.mp4", NORMAL_TRAIN),
        ("v=38GQ9L2meyE__#1_label_B6-0-0.mp4", Facts("train", ("car accident",))),
        ("v=x__#1_label_B1-B2-G.mp4", Facts("train", ("fighting", "shooting", "explosion"))),
        ("v=S-7rRLrxnVQ__#1_label_B4-0-0.mp4", Facts("test", ("riot",))),
        ("videos/Brick.Mansions.2014__#00-15-51_label_B1-0-0.mp4", Facts("test", ("fighting",))),
        ("test_videos/v=y__#1_label_B5-0-0.mp4", Facts("test", ("abuse",))),
        ("v=x__#1_label_B3-0-0.mp4", None),  # the dataset has no class B3: better asked about than called normal
        ("v=x__#1.mp4", None),
    ])
    def test_labels_stand_in_the_names(self, tmp_path: Path, video_id: str, facts: Facts | None) -> None:
        (tmp_path / "test.txt").write_text(self.TEST)
        assert from_xd_violence(tmp_path / "test.txt")(video_id) == facts

    def test_without_a_list_the_folder_tells_the_split(self) -> None:
        read = from_xd_violence(None)
        assert read("test/v=x_label_G-0-0.mp4") == Facts("test", ("explosion",))
        assert read("train/v=x_label_G-0-0.mp4") == Facts("train", ("explosion",))
