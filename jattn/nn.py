"""Flax NNX layers and models, by name; each is loaded when it is first asked for."""

import importlib

from jattn import extras
from jattn.catalogue import nearest

_HOME = {
    "Block": "jattn.layers.block",
    "Buffer": "jattn.layers.buffers",
    "Decoded": "jattn.models.decoder",
    "Decoder": "jattn.models.decoder",
    "DecoderConfig": "jattn.models.decoder",
    "Embedding": "jattn.layers.embeddings",
    "FeedForward": "jattn.layers.feedforward",
    "Flow": "jattn.layers.flow",
    "Grouped": "jattn.layers.heads.grouped",
    "Head": "jattn.layers.embeddings",
    "MultiHead": "jattn.layers.multihead",
    "Norm": "jattn.layers.norms",
    "Places": "jattn.layers.flow",
    "Record": "jattn.layers.flow",
    "Stack": "jattn.layers.stack",
    "generate": "jattn.models.sampling",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"jattn.nn has no {name!r}; {nearest(name, __all__) or 'it has ' + ', '.join(_HOME)}.")
    try:
        return getattr(importlib.import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if told := extras.sentence(f"jattn.nn.{name}", error):
            raise ModuleNotFoundError(told, name=error.name) from None
        raise


def __dir__() -> list[str]:
    return __all__
