"""ListOps of the Long Range Arena: nested lists of digits and operators, and the digit that the whole is worth.

Source: Nangia and Bowman, "ListOps: A Diagnostic Dataset for Latent Tree Learning", NAACL 2018 Student Research
Workshop, arXiv:1804.06028; Tay, Dehghani, Abnar, Shen, Bahri, Pham, Rao, Yang, Ruder, Metzler, "Long Range Arena: A
Benchmark for Efficient Transformers", ICLR 2021, arXiv:2011.04006, section 2.2.1 and the released code; see
`jattn.training.data.listops` for where these differ, and for what differs here.

Of the benchmark's expressions always naming the commonest value is right in 17 %, and naming the commonest one of those
that begin with the same operator in 36 %: what reaches no more has read no further.
"""

import jax
import numpy as np

from jattn.part import part
from jattn.training import checks
from jattn.training.data import labeled, listops
from jattn.training.data.listops import TEST, TRAINING, Law
from jattn.training.sources import Source

# as many as the benchmark validates on
HELD_OUT = 2000
# below this share of all that is drawn, an expression would take minutes
RAREST = 1e-6


class Expressions:
    """Expressions by number, on and on over epochs: `inputs` "context" of which `valid` are tokens, and a `label`."""

    def __init__(self, source: "ListOps", context: int, half: int, seed: tuple[int, ...], count: int):
        if context < source.shortest:
            raise ValueError(
                f"A context must hold the longest expression that is allowed, {source.shortest} tokens, got {context}; "
                f"use --context {source.shortest}, or --source.shorter-than {context + 1}."
            )
        self.law = source.law
        self.context = context
        self.half = half
        self.seed = seed
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        tokens = listops.expression(self.law, self.half, (*self.seed, int(number) % self.count))
        return labeled.padded(tokens, listops.value(tokens), self.context)


@part
class ListOps(Source):
    """Expressions of more than `longer_than` and fewer than `shorter_than` tokens, `depth` levels deep at most.

    So many `examples` are drawn by the seed to train on; none of them is held out. A list has 2 to `arguments`
    arguments, and a value is a level too. The benchmark's options are the defaults; it calls the lengths `min_length`
    and `max_length`, and leaves both out.
    """

    depth: int = 10
    arguments: int = 10
    longer_than: int = 500
    shorter_than: int = 2000
    examples: int = 96_000

    def __post_init__(self):
        checks.whole("ListOps", "depth", self.depth, 1, "a value alone is 1 deep, a list of values 2")
        checks.whole("ListOps", "arguments", self.arguments, 2, "a list has two arguments or more")
        checks.whole("ListOps", "longer_than", self.longer_than, 0, "no expression is shorter than one token")
        checks.whole(
            "ListOps",
            "shorter_than",
            self.shorter_than,
            self.longer_than + 2,
            "a length lies above --source.longer-than and below this",
        )
        checks.whole("ListOps", "examples", self.examples, 1, "the benchmark trains on 96000")
        found = listops.lengths(self.depth, self.arguments, self.shorter_than)[self.longer_than + 1 :].sum()
        if found < RAREST:
            have = "none or hardly any has" if found < listops.ROUNDING else f"one in {1 / found:,.0f} has"
            raise ValueError(
                f"ListOps needs lengths that at least one in {1 / RAREST:,.0f} expressions has, got "
                f"{self.longer_than + 1} to {self.shorter_than - 1} tokens, which {have} at a depth of {self.depth} "
                f"with up to {self.arguments} arguments; allow other lengths, or more depth or arguments."
            )

    @property
    def law(self) -> Law:
        return Law(self.depth, self.arguments, self.longer_than, self.shorter_than)

    @property
    def vocabulary(self) -> int:
        return len(listops.WORDS)

    @property
    def unit(self) -> str:
        return "expression"

    @property
    def shortest(self) -> int:
        return self.shorter_than - 1

    @property
    def needs(self) -> dict[str, int]:
        return {"vocabulary": self.vocabulary, "classes": 10}

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        return labeled.outline(context)

    def units(self, context: int) -> int:
        return 1

    def train(self, context: int, seed: int) -> Expressions:
        return Expressions(self, context, TRAINING, (seed,), self.examples)

    def held_out(self, context: int) -> Expressions:
        return Expressions(self, context, TEST, (), HELD_OUT)
