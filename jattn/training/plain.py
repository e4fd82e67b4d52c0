"""Writes a frozen dataclass as plain data and reads it back: parts by their class names, nothing evaluated."""

import contextlib
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable
from typing import Any

Resolve = Callable[[type, str], type]


def to_plain(value: Any) -> Any:
    """Numbers, text, lists and dicts; a dataclass becomes `{"name": its class, field: value ...}`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if "name" in fields:
            raise TypeError(f"{type(value).__name__} may have no field 'name', which holds the class; rename it.")
        return {"name": type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [to_plain(member) for member in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"A run's fields must be numbers, text, tuples or parts to be written, got {value!r}; "
        f"put a plain function into a part of its own."
    )


def agrees(written: Any, now: Any) -> bool:
    """Whether plain data says what it said when it was written; fields that have come since are not asked."""
    if isinstance(written, dict) and isinstance(now, dict):
        return all(name in now and agrees(value, now[name]) for name, value in written.items())
    if isinstance(written, list) and isinstance(now, list):
        return len(written) == len(now) and all(agrees(*pair) for pair in zip(written, now, strict=True))
    return type(written) is type(now) and written == now


def from_plain(data: Any, kind: Any, resolve: Resolve, path: str = "run") -> Any:
    """The value of type `kind` that `data` describes; `resolve(slot, name)` finds a part's class.

    A field that `data` lacks keeps its default, so that older files can be read.
    """
    for option in _options(kind):
        if typing.get_origin(option) is tuple and isinstance(data, list):
            return _members(data, typing.get_args(option), resolve, path)
        if dataclasses.is_dataclass(option) or _is_slot(option):
            if isinstance(data, dict):
                return _part(data, _slot(kind, data), resolve, path)
        elif _fits(data, option):
            with contextlib.suppress(OverflowError):
                return float(data) if option is float else data
    raise TypeError(f"{path} must be {_words(kind)}, got {data!r}; correct the file or the option.")


def _part(data: dict, slot: type, resolve: Resolve, path: str) -> Any:
    if not isinstance(name := data.get("name"), str):
        raise ValueError(f'{path} must give its class under \'name\', got {sorted(data)}; add "name": "...".')
    # a slot that is itself a dataclass of that name needs no catalogue
    cls = slot if name == slot.__name__ and dataclasses.is_dataclass(slot) else resolve(slot, name)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and issubclass(cls, slot)):
        raise TypeError(f"{path} must be a {slot.__name__}, got {name!r}; choose one from that slot.")
    kinds = typing.get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}
    for field in data.keys() - known - {"name"}:
        near = difflib.get_close_matches(field, known, 3, 0.5)
        cure = f"did you mean {' or '.join(near)}" if near else f"it has {', '.join(sorted(known)) or 'none'}"
        raise ValueError(f"{path} must have fields of {name} only, got {field!r}; {cure}.")
    return cls(**{f: from_plain(data[f], kinds[f], resolve, f"{path}.{f}") for f in data if f != "name"})


def _members(data: list, kinds: tuple, resolve: Resolve, path: str) -> tuple:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    if len(kinds) != len(data):
        raise ValueError(f"{path} must hold {len(kinds)} values, got {len(data)}; correct the file or the option.")
    return tuple(
        from_plain(member, kind, resolve, f"{path}.{number}")
        for number, (member, kind) in enumerate(zip(data, kinds, strict=True))
    )


def _options(kind: Any) -> tuple:
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _is_slot(kind: Any) -> bool:
    return isinstance(kind, type) and kind not in (int, float, str, bool, tuple, types.NoneType)


def _slot(kind: Any, data: dict) -> type:
    return next(option for option in _options(kind) if _is_slot(option))


def _fits(data: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return any(data == choice and type(data) is type(choice) for choice in typing.get_args(kind))
    if kind is float:
        return isinstance(data, int | float) and not isinstance(data, bool)
    if kind is int:
        return isinstance(data, int) and not isinstance(data, bool)
    return isinstance(kind, type) and type(data) is kind


def _words(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(kind))
    return " or ".join(getattr(option, "__name__", str(option)) for option in _options(kind))
