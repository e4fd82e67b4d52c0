"""The public face of the slot `positions`: a new file in its folder appears here by itself."""

from jattn.catalogue import face

__getattr__, __dir__, __all__ = face(__name__, "parts/positions")
