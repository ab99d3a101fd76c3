"""A YAML file that people write: its content, and the line of each key, so that every mistake can be shown where it stands."""

from pathlib import Path
from typing import Any

import yaml

from agent.drivers import ConfigError, SectionError

_LARGEST_FILE_BYTES = 1 << 20


_BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """With a place for the mistakes that PyYAML's has none for. `On`, `off`, `yes`, `no` are words: cameras have values of such
    names, and later versions of YAML take none of them for `true` or `false`."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own, by the first letter of a word
        first: [(tag, pattern) for tag, pattern in known if tag != _BOOLEAN or first in "tTfF"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """YAML takes 2026-31-12 for a date, 0x for a number."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError) as e:
            what = f"{str(node.value)[:40]!r} looks like a date or a number and is none ({e}): put quotes around a word"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from e

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """1 and 01 are one key."""
        content: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(content) < len(node.value):
            raise yaml.constructor.ConstructorError(
                None, None, "a key stands here a second time, written otherwise", node.start_mark
            )
        return content


def read_yaml(file: Path) -> tuple[Any, dict[tuple[str, ...], int]]:
    """The content of a YAML file and the line of each key path. Refuses duplicate keys, aliases and huge files."""
    try:
        text = file.read_bytes()
    except OSError as e:
        raise ConfigError(f"{file}: cannot be read: {e.strerror}") from e
    if len(text) > _LARGEST_FILE_BYTES:
        raise ConfigError(f"{file}: {len(text)} bytes, a configuration has at most {_LARGEST_FILE_BYTES}")
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(f"{file}: aliases such as *{event.anchor} are not accepted")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[tuple[str, ...], int] = {}
        if root is not None:
            _note_lines(root, (), file, lines)
        return _Loader(text).get_single_data(), lines
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise ConfigError(f"{file}:{line}: not valid YAML: {e.problem}") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(e).split())}") from e
    except RecursionError as e:
        raise ConfigError(f"{file}: nested too deeply for a configuration") from e


def located(error: SectionError, file: Path, lines: dict[tuple[str, ...], int]) -> ConfigError:
    """The error with its place in the file: the line of the culprit, or of the nearest key above it."""
    path = tuple(map(str, error.path))
    nearest = next((path[:k] for k in range(len(path), 0, -1) if path[:k] in lines), None)
    line = lines[nearest] if nearest else 1
    return ConfigError(f"{file}:{line}: {'.'.join(path) or 'file'}: {error}")


def _note_lines(node: yaml.Node, path: tuple[str, ...], file: Path, lines: dict[tuple[str, ...], int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            if below in lines:
                raise ConfigError(f"{file}:{key.start_mark.line + 1}: key {'.'.join(below)!r} stands here a second time")
            lines[below] = key.start_mark.line + 1
            _note_lines(value, below, file, lines)
    if isinstance(node, yaml.SequenceNode):
        for k, value in enumerate(node.value):
            below = (*path, str(k))
            lines[below] = value.start_mark.line + 1
            _note_lines(value, below, file, lines)
