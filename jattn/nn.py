"""The public face of layers and models: Flax NNX modules, the slot `heads`, the decoder. Needs the extra `train`."""

from typing import Any

from jattn import extras
from jattn.catalogue import face

_get, __dir__, __all__ = face(__name__, "layers", "models")


def __getattr__(name: str) -> Any:
    try:
        return _get(name)
    except ModuleNotFoundError as error:
        if told := extras.sentence(f"jattn.nn.{name}", error):
            raise ModuleNotFoundError(told, name=error.name) from None
        raise
