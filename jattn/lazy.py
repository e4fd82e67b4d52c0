"""Loads a public module's names when they are first asked for, and says what is missing."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def face(module: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a module, from each name to the module in which it is written.

    A name that is at home in the module itself is a module below it.
    """
    names = sorted(homes)

    def getter(name: str) -> Any:
        if name not in homes:
            from jattn.catalogue import nearest

            near = nearest(name, names) or f"dir({module}) lists what it has"
            raise AttributeError(f"module {module!r} has no attribute {name!r}; {near}", name=name)
        try:
            if homes[name] == module:
                return importlib.import_module(f"{module}.{name}")
            return getattr(importlib.import_module(homes[name]), name)
        except ModuleNotFoundError as error:
            from jattn import extras

            if told := extras.sentence(f"{module}.{name}", error):
                raise ModuleNotFoundError(told, name=error.name) from None
            raise

    return getter, lambda: names, names
