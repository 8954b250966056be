"""Typed settings: defaults <- YAML files <- `a.b=value`; what cannot be used is named."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from stages.core.command import UserError
from stages.core.ranges import faults_of
from stages.core.storage import is_file, read_text

T = TypeVar("T")


class ConfigError(UserError):
    """A key or value that cannot be used; the message names it."""


def load_as(kind: type[T], files: Sequence[Path] = (), overrides: Sequence[str] = ()) -> T:
    """Defaults, then each YAML file, then each `a.b=value`.

    Args:
        kind: the dataclass of the whole tree.
    Raises:
        ConfigError: a missing or broken file, an unknown key, or a value of the wrong type or out of range, by name;
            or a reference `${...}`, which could read the environment.
    """
    tree = OmegaConf.structured(kind)
    for file in files:
        if not is_file(file):
            raise ConfigError(f"no such config file: {file}")
        try:
            given = OmegaConf.load(io.StringIO(read_text(file)))
            _refuse_references(OmegaConf.to_container(given, resolve=False), f"{file}: ")
            tree = OmegaConf.merge(tree, given)
        except ConfigKeyError as error:
            raise ConfigError(
                f"{file}: {_first_lines(error)}: this version has no such setting. Take it out; if another version "
                "wrote the file, what it measured stays as it is"
            ) from error
        except (OmegaConfBaseException, yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
            raise ConfigError(f"{file}: {_first_lines(error)}") from error
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign or not key:
            raise ConfigError(f"{override!r} is not of the form key=value")
        _refuse_references(value, "", key)
        try:
            tree = OmegaConf.merge(tree, OmegaConf.from_dotlist([f"{key}={value}"]))
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise ConfigError(f"{override!r}: {_first_lines(error)}") from error
    try:
        config = cast(T, OmegaConf.to_object(tree))
    except OmegaConfBaseException as error:
        raise ConfigError(_first_lines(error)) from error
    if faults := faults_of(config):
        raise ConfigError("; ".join(faults))
    return config


def _refuse_references(value: Any, where: str, key: str = "") -> None:
    if isinstance(value, str) and "${" in value:
        raise ConfigError(f"{where}{key}={value}: references, ${{...}}, are not read; write the value itself")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        _refuse_references(item, where, f"{key}.{name}".lstrip("."))


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith(("reference_type", "object_type")))


def load_dict(kind: type[T], values: dict[str, Any]) -> T:
    """A configuration from the plain values of `as_dict`; unknown keys of an older version are left out.

    Raises:
        ConfigError: a value of the wrong type, or a reference `${...}`.
    """
    _refuse_references(values, "")
    defaults = OmegaConf.structured(kind)
    try:
        return cast(T, OmegaConf.to_object(OmegaConf.merge(defaults, _known(defaults, values))))
    except OmegaConfBaseException as error:
        raise ConfigError(_first_lines(error)) from error


def _known(defaults: DictConfig, values: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in values.items() if name in defaults}
    nested = [name for name in kept if isinstance(defaults[name], DictConfig)]
    return kept | {name: _known(defaults[name], kept[name]) for name in nested}


def as_dict(config: Any) -> dict[str, Any]:
    """Values of a configuration as plain JSON types."""
    return json.loads(json.dumps(OmegaConf.to_container(OmegaConf.structured(config))))


def flattened(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
