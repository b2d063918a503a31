"""stages.yaml's reader: every fault names file, line and key, and what to do."""

from pathlib import Path

import pytest
from pydantic import Field

from pipeline.engine.config import Config, ConfigError, load, parse


class Server(Config):
    urls: tuple[str, ...] = ()
    retries: int = 3


class Section(Config):
    stride: int = Field(16, ge=1)
    gap_s: float = 0.5
    words: dict[str, str] = Field(default_factory=dict)
    server: Server = Server()


class File(Config):
    decode: Section = Section()
    name: str = "x"


class Strict(Config):
    needed: int


def error_of(path: Path, text: str | bytes, model: type[Config] = File) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        load(path, model)
    assert str(path) in str(error.value)
    return str(error.value).replace(str(path), "FILE")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stages.yaml"


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "decode:\n", "decode:\n  server:\n", "{}"])
def test_what_is_left_empty_has_its_defaults(path: Path, text: str) -> None:
    path.write_text(text)
    assert load(path, File) == File()


@pytest.mark.parametrize(("text", "message"), [
    ("decode:\n  stride: 8\n  strid: 8", "FILE:3: unknown key 'decode.strid': did you mean 'stride'?"),
    ("decod: {}", "FILE:1: unknown key 'decod': did you mean 'decode'?"),
    ("zzz: 1", "FILE:1: unknown key 'zzz': known here: decode, name"),
    ("decode:\n  server:\n    url: x", "FILE:3: unknown key 'decode.server.url': did you mean 'urls'?"),
    ("decode:\n\n  stride: 0", "FILE:3: decode.stride: input should be greater than or equal to 1 (found 0)"),
    ("decode:\n  words:\n    a: b\n    c: 1", "FILE:4: decode.words.c: input should be a valid string (found 1)"),
    ("decode: 5", "FILE:1: decode: expected keys and values (found 5)"),
    ("decode: {words: [a]}", "FILE:1: decode.words: expected keys and values"),
    ("decode: {server: {urls: a}}", "FILE:1: decode.server.urls: expected a list (found 'a')"),
    ("decode:\n  server:\n    urls:\n    - a\n    - 1", "FILE:5: decode.server.urls.1: input should be a valid string "
                                                        "(found 1)"),
    ("decode: {stride: 'rtsp://me:pass@host/a?key=b'}", "FILE:1: decode.stride: input should be a valid integer, "
     "unable to parse string as an integer (found 'rtsp://***@host/a?***')"),
    ("decode: {gap_s: .inf}", "FILE:1: decode.gap_s: input should be a finite number (found inf)"),
    ("decode: {gap_s: .nan}", "FILE:1: decode.gap_s: input should be a finite number (found nan)"),
    ("- decode", "FILE: expected a mapping of keys to values, found list"),
    ("just words", "FILE: expected a mapping of keys to values, found str"),
    ("name: [", "FILE:1: not valid YAML: expected the node content, but found '<stream end>'"),
    ("name: x\n\tdecode: {}", "FILE:2: not valid YAML: found character '\\t' that cannot start any token"),
    ("name: a\n---\nname: b", "FILE:2: not valid YAML: but found another document"),
    ("name: a\ndecode: {}\nname: b", "FILE:3: the key 'name' stands here for the second time: keep one of them"),
    ("decode:\n  stride: 1\n  stride: 2", "FILE:3: the key 'stride' stands here for the second time: keep one of them"),
])
def test_a_fault_names_line_key_and_remedy(path: Path, text: str, message: str) -> None:
    assert error_of(path, text) == message


def test_all_faults_are_told_at_once(path: Path) -> None:
    assert error_of(path, "decode:\n  stride: x\nnam: y").count("FILE:") == 2


def test_a_missing_key_is_named(path: Path) -> None:
    assert error_of(path, "", Strict) == "FILE: missing key 'needed'"


def test_bytes_that_are_no_text(path: Path) -> None:
    assert error_of(path, b"\xff\xfe").startswith("cannot read FILE: ")


def test_a_mapping_that_holds_itself(path: Path) -> None:
    assert error_of(path, "decode: &a\n  stride: *a").startswith("FILE:2: decode.stride: ")


def test_no_file_and_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration at .*name one, or start from"):
        load(tmp_path / "none.yaml", File)
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path, File)


def test_values_given_elsewhere_are_placed_by_their_name() -> None:
    with pytest.raises(ConfigError, match=r"^--set: unknown key 'decode\.strid': did you mean 'stride'"):
        parse(File, {"decode": {"strid": 1}}, "--set")


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        File().name = "y"  # type: ignore[misc]
