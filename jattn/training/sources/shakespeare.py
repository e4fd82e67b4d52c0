"""Shakespeare's works, which come with the package: 39 to train on, three plays held out whole.

Source: see `jattn.training.data.shakespeare`, which names the editions.
"""

from typing import ClassVar

from jattn.part import part
from jattn.training.data import shakespeare
from jattn.training.sources import Source
from jattn.training.windows import Sliding, Windows


@part
class Shakespeare(Source):
    """Bytes are tokens; the plays held out are Macbeth, The Tempest and Twelfth Night."""

    # printed by jattn.benchmarks.compressors
    references: ClassVar[dict[str, float]] = {
        "PPMd, which learns the plays as it reads": 1.371,
        "PPMd, reset to the training text": 1.436,
        "xz": 1.699,
    }

    def train(self, context: int, seed: int) -> Windows:
        return Windows(shakespeare.train_text(), context, seed)

    def held_out(self, context: int) -> Sliding:
        return Sliding(shakespeare.held_out_text(), context)
