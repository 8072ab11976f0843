"""How a file of `config/` is read: YAML into a pydantic model, errors with file and line.

Reads:     any YAML file that a business owner may edit
Keeps out: what the words mean; each room brings its own model
"""

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedBase, CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

Location = tuple[str | int, ...]
"""Where a value stands: the keys and list positions that lead to it."""


class ConfigError(ValueError):
    """A config file that cannot be used: names the file, the line, the reason and what to do."""


class ConfigModel(BaseModel):
    """Base of every model of a config file: a word that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(
            f'no time zone is named "{value}"; write an IANA name such as Europe/Copenhagen'
        ) from None
    return value


TimeZone = Annotated[str, AfterValidator(_known_zone)]
"""Name of a zone of the IANA time zone database."""


def read_config(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into its model.

    Raises:
        ConfigError: The file is missing, is not YAML or does not fit the model. Every fault is
            listed, each with its line.
    """
    tree = _read_tree(path)
    try:
        return model.model_validate(_plain(tree))
    except ValidationError as error:
        faults = [
            (tuple(part for part in fault["loc"]), _sentence(fault, model))
            for fault in error.errors(include_url=False)
        ]
        raise config_error(path, faults) from None


def config_error(path: Path, faults: Sequence[tuple[Location, str]]) -> ConfigError:
    """Make one error of several faults, each given as its location and a sentence."""
    tree = _read_tree(path)
    lines = []
    for location, sentence in faults:
        where = ".".join(str(part) for part in location)
        place = f"{shown_path(path)} line {_line(tree, location)}"
        lines.append(f"{place}: {where}: {sentence}" if where else f"{place}: {sentence}")
    return ConfigError("\n".join(lines))


def shown_path(path: Path) -> str:
    """Return the path as a person would write it: relative to the working folder if below it."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return `; did you mean "x"?` when a known word is near, otherwise the list of known words."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f'; did you mean "{near[0]}"?'
    return "; known here: " + ", ".join(known) + "."


def _read_tree(path: Path) -> CommentedBase:
    """Read the YAML with its line numbers."""
    try:
        return _parsed(path, path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            f"{shown_path(path)} does not exist; create it or name another folder with --config."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{shown_path(path)} is not UTF-8; save it as UTF-8.") from None


# A run asks for the same files several times, and parsing 600 lines takes 0.2 s.
@lru_cache(maxsize=64)
def _parsed(path: Path, text: str) -> CommentedBase:
    try:
        tree = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        problem = str(error.problem).split(" with value")[0]
        raise ConfigError(
            f"{shown_path(path)} line {line}: {problem}; keep one of the two."
        ) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(
            f"{shown_path(path)} line {line}: not valid YAML ({error.problem or error.context}); "
            "look for a missing quote, colon or indent on this line or the one before."
        ) from None
    except YAMLError as error:
        raise ConfigError(f"{shown_path(path)} line 1: not valid YAML ({error}).") from None
    if tree is None:
        return CommentedMap()
    if not isinstance(tree, CommentedMap):
        raise ConfigError(f"{shown_path(path)} line 1: must start with a key, such as `name:`.")
    return tree


def _plain(node: Any) -> Any:
    """Turn ruamel's nodes into plain dicts, lists and scalars."""
    if isinstance(node, dict):
        return {
            (str(key) if not isinstance(key, str) else str.__str__(key)): _plain(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (str, int, float):
        if isinstance(node, kind):
            return kind(node)
    return node


def _line(tree: CommentedBase, location: Location) -> int:
    """Return the line of a location, or of the nearest thing around it."""
    line = 1
    node: Any = tree
    for part in location:
        if isinstance(node, CommentedMap) and part in node:
            line = node.lc.key(part)[0] + 1
            node = node[part]
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            line = node.lc.item(part)[0] + 1
            node = node[part]
        else:
            break
    return line


def _sentence(fault: Any, model: type[BaseModel]) -> str:
    """Say what is wrong and what to do."""
    location, kind = fault["loc"], fault["type"]
    if kind == "extra_forbidden":
        known = sorted({name for owner in _owners(model, location) for name in _names(owner)})
        return f'"{location[-1]}" is not known here{did_you_mean(str(location[-1]), known)}'
    if kind == "missing":
        return f'is missing; add "{location[-1]}:".'
    message = fault["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return message
    given = fault["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{message[0].lower()}{message[1:]}{shown}."


def _names(model: type[BaseModel]) -> list[str]:
    """Return the words that a model knows."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _owners(model: type[BaseModel], location: Location) -> Iterator[type[BaseModel]]:
    """Return the models that a location's last part was looked up in."""
    level: list[Any] = [model]
    for part in location[:-1]:
        level = [inner for kind in level for inner in _step(kind, part)]
    for kind in level:
        yield from (option for option in _options(kind) if _is_model(option))


def _step(kind: Any, part: str | int) -> Iterator[Any]:
    """Return the types that one step down from a type can lead to."""
    for option in _options(kind):
        if _is_model(option):
            field = option.model_fields.get(str(part))
            if field is not None:
                yield field.annotation
        elif typing.get_args(option):
            yield typing.get_args(option)[-1 if typing.get_origin(option) is dict else 0]


def _options(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself."""
    if typing.get_origin(kind) is typing.Annotated:
        return _options(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(inner for arg in typing.get_args(kind) for inner in _options(arg))
    return (kind,)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
