"""The slot `decays`: how fast what linear attention carries forgets."""

from typing import Any

from jaxtyping import Array, Float

from jattn.part import Part, Place, Side, part


class Decay(Part):
    """Multiplies what earlier tokens left by a factor of at most 1, token by token; by 0, it begins anew.

    `logs` names the arrays in `extra` that hold logs of factors, so that a call refuses those above 0.
    """

    logs: tuple[str, ...] = ()

    def project(self, own: dict, x: Float[Array, "n m"]) -> dict:
        """Per-token arrays "n #heads ..." from the layer's input, new tokens only."""
        return {}

    def log(self, own: dict, key: Side, place: Place) -> Any:
        """The log of the factor, at most 0: "h", "n h", or "n h f" for each feature; None for no decay.

        An engine refuses logs above 0, and NaN, that are known when it is traced; it takes 0 for those that are not.
        """
        raise NotImplementedError


@part
class Undecayed(Decay):
    """Keeps everything.

    Source: Katharopoulos et al., "Transformers are RNNs", ICML 2020, arXiv:2006.16236, equation 9.
    """

    def log(self, own: dict, key: Side, place: Place) -> None:
        return None
