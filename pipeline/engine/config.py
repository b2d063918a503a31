"""YAML into pydantic models, with errors that name the key, its place and the nearest known key."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator


class ConfigError(ValueError):
    """A configuration cannot be used; the message names file, line, key and remedy."""


class Config(BaseModel):
    """Base of every configuration model: unknown keys are errors, numbers are finite, values stay as they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, data: Any) -> Any:
        """A section whose keys are all commented out has its defaults."""
        if not isinstance(data, dict):
            return data
        sections = {name for name, field in cls.model_fields.items() if _models_in(field.annotation)}
        return {key: value for key, value in data.items() if value is not None or key not in sections}


Model = TypeVar("Model", bound=BaseModel)
SECRET = re.compile(r"(?<=://)[^\s/]*(?=@)|(?<=\?)\S+")  # what an address may hold: user and password, query
EXPECTED = {  # in YAML's words where pydantic uses Python's
    "model_type": "expected keys and values", "dict_type": "expected keys and values",
    "tuple_type": "expected a list", "list_type": "expected a list",
}


def load(path: Path, model: type[Model]) -> Model:
    """Read the YAML file at `path` into `model`. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {path}: name one, or start from the stages.yaml of this project"
                          ) from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; name a YAML file that can be read") from None
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read {path}: no text in UTF-8; name a YAML file") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    for key, line in _repeated(node):
        raise ConfigError(f"{path}:{line}: the key {key!r} stands here for the second time: keep one of them")
    return parse(model, {} if data is None else data, str(path), node)


def parse(model: type[Model], data: Any, where: str, node: yaml.Node | None = None) -> Model:
    """Validate `data` as `model`. `where` (a file, "--set") and `node` (its YAML tree) place the errors.

    Raises ConfigError listing every fault, one a line.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected a mapping of keys to values, found {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            loc = tuple(fault["loc"])
            line = _line_of(node, loc)
            place = f"{where}:{line}" if line else where
            lines.append(f"{place}: {_explain(model, loc, dict(fault))}")
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def _explain(model: type[BaseModel], loc: tuple[str | int, ...], fault: dict[str, Any]) -> str:
    key = ".".join(map(str, loc))
    if fault["type"] == "extra_forbidden":
        known = sorted(_fields_at(model, loc[:-1]))
        near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"unknown key {key!r}: {hint}"
    if fault["type"] == "missing":
        return f"missing key {key!r}"
    message = EXPECTED.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    given = fault.get("input")
    given = SECRET.sub("***", given) if isinstance(given, str) and "://" in given else given
    shown = f" (found {given!r})" if isinstance(given, str | int | float | bool | None) else ""
    return f"{key}: {message[:1].lower()}{message[1:]}{shown}" if key else message


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> set[str]:
    """Names of the fields of the model found at `loc` under `model`."""
    models = [model]
    for part in loc:
        inner = [m.model_fields[part].annotation for m in models if isinstance(part, str) and part in m.model_fields]
        models = [m for annotation in inner for m in _models_in(annotation)] or models
    return {name for m in models for name in m.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in get_args(annotation) for m in _models_in(argument)]


def _repeated(node: yaml.Node | None, above: tuple[yaml.Node, ...] = ()) -> Iterator[tuple[str, int]]:
    """Keys that a mapping holds twice, with their lines: YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode) and node not in above:  # an anchor may hold itself
        keys = set()
        for key, value in node.value:
            if key.value in keys:
                yield key.value, key.start_mark.line + 1
            keys.add(key.value)
            yield from _repeated(value, (*above, node))


def _line_of(node: yaml.Node | None, loc: tuple[str | int, ...]) -> int | None:
    """The line of the key at `loc`, or of its nearest parent that is there, counted from 1."""
    line = None
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
