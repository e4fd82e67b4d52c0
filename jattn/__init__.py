"""Attention research in JAX: any mechanism, exact, linear in memory, with its entropy."""

import importlib
from typing import Any

# where each public name is written; nothing is imported before it is asked for
_HOMES = {
    "attend": "jattn.mechanisms.attention",
    "Attention": "jattn.mechanisms.attention",
    "Layout": "jattn.mechanisms",
    "Attended": "jattn.part",
    "Stats": "jattn.part",
    "Dims": "jattn.part",
    "Variables": "jattn.part",
    "Part": "jattn.part",
    "merge": "jattn.engines.merge",
}
# `part` is the vocabulary's module, with the decorator of that name inside
_MODULES = ("catalogue", "masks", "nn", "normalizers", "part", "positions", "scores")

__all__ = sorted((*_HOMES, *_MODULES))


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"jattn.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    from jattn.catalogue import nearest

    near = nearest(name, __all__)
    raise AttributeError(f"module 'jattn' has no attribute {name!r}{'; ' + near if near else ''}")


def __dir__() -> list[str]:
    return __all__
