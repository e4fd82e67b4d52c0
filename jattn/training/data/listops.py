"""Draws the nested lists of ListOps as the Long Range Arena does, and tells what they are worth.

Source: Nangia and Bowman, "ListOps: A Diagnostic Dataset for Latent Tree Learning", NAACL 2018 Student Research
Workshop, arXiv:1804.06028; Tay, Dehghani, Abnar, Shen, Bahri, Pham, Rao, Yang, Ruder, Metzler, "Long Range Arena: A
Benchmark for Efficient Transformers", ICLR 2021, arXiv:2011.04006, section 2.2.1 and the released code.

The benchmark's paper names MAX, MEAN, MEDIAN and SUM_MOD; its code, and so this file, has MIN instead of MEAN. The code
cuts the median of an even number of values off to a whole number, and counts an operator, a value and a closing bracket
as one token each; parentheses, which its files have besides, are no tokens. Its first input pipeline lost the closing
brackets, without which many expressions are ambiguous; the later one, and so this file, keeps them.
Departs: the benchmark draws 100,000 different expressions and deals them out; here each is drawn by a seed of its own,
so that long ones are different but for chance. Half of all expressions, by a bit of their hash, are drawn to train on
and the others to test, so that even short ones are never in both.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# how probable a list is at each place that is not too deep, rather than a value
LIST = 1 / 4
# tokens by number: what fills up, ten values, operators that open a list, and what closes one
WORDS = ("", *"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]")
VALUE, OPERATOR, END = 1, 11, 15
OPERATORS = END - OPERATOR
# which half of all expressions, and what the generators' seeds begin with
TRAINING, TEST = 0, 1
# what `lengths` gives instead of 0 is smaller
ROUNDING = 1e-12
# uniform numbers that are drawn together
BLOCK = 1024


class Law(NamedTuple):
    """Lists of 2 to `arguments` arguments, at most `depth` - 1 of them inside one another.

    Expressions have more than `longer_than` tokens and fewer than `shorter_than`: the benchmark's `min_length` and
    `max_length`, which are themselves left out there too.
    """

    depth: int
    arguments: int
    longer_than: int
    shorter_than: int


def expression(law: Law, half: int, seed: tuple[int, ...]) -> list[int]:
    """The tokens of the first expression of that half, drawn by the seed, whose length the law allows."""
    draws = uniform(np.random.default_rng((half, *seed)))
    while True:
        tokens = tree(law, draws)
        if law.longer_than < len(tokens) < law.shorter_than and half_of(tokens) == half:
            return tokens


def half_of(tokens: Sequence[int]) -> int:
    """Which half an expression belongs to, by a bit that says nothing of what it is worth."""
    return hashlib.blake2b(bytes(tokens), digest_size=1).digest()[0] & 1


def uniform(random: np.random.Generator) -> Iterator[float]:
    """Uniform numbers from 0 to 1 on and on."""
    while True:
        yield from random.random(BLOCK).tolist()


def tree(law: Law, draws: Iterator[float]) -> list[int]:
    """The tokens of any expression, left to right; one that is too long is given up."""
    tokens, missing = [], []
    # `missing` holds the arguments that each open list still needs, this one included
    while len(tokens) < law.shorter_than:
        if len(missing) + 1 < law.depth and next(draws) < LIST:
            tokens.append(OPERATOR + int(next(draws) * OPERATORS))
            missing.append(2 + int(next(draws) * (law.arguments - 1)))
            continue
        tokens.append(VALUE + int(next(draws) * 10))
        while missing and missing[-1] == 1:
            missing.pop()
            tokens.append(END)
        if not missing:
            break
        missing[-1] -= 1
    return tokens


def median(values: list[int]) -> int:
    """The middle one; of two, their mean cut off to a whole number."""
    rising = sorted(values)
    return (rising[(len(rising) - 1) // 2] + rising[len(rising) // 2]) // 2


# by the operators' order
WORTH = (min, max, median, lambda values: sum(values) % 10)


def value(tokens: Sequence[int]) -> int:
    """What an expression is worth, 0 to 9."""
    open_lists: list[list] = [[]]
    for token in tokens:
        if token == END:
            worth, *values = open_lists.pop()
            open_lists[-1].append(worth(values))
        elif token >= OPERATOR:
            open_lists.append([WORTH[token - OPERATOR]])
        else:
            open_lists[-1].append(token - VALUE)
    ((found,),) = open_lists
    return found


def text(tokens: Sequence[int]) -> str:
    """An expression as the benchmark writes it, without its parentheses: `[MAX 4 3 [MIN 2 3 ] 1 0 ]`."""
    return " ".join(WORDS[token] for token in tokens)


@functools.lru_cache(maxsize=8)
def lengths(depth: int, arguments: int, shorter_than: int) -> Float[np.ndarray, " n"]:
    """How probable each length below `shorter_than` is before any is left out, to about 1e-15."""
    # more arguments or levels than tokens are in longer ones alone
    most, levels = (min(each, shorter_than) for each in (arguments, depth))
    # of the deepest places, and from there upwards; the transform is long enough that nothing wraps around
    found = deepest = np.eye(1, shorter_than, 1)[0]
    for _ in range(levels - 1):
        spectrum = np.fft.rfft(found, most * shorter_than)
        lists = sum(spectrum**count for count in range(2, most + 1)) / (arguments - 1)
        inside = np.fft.irfft(lists, most * shorter_than)[: shorter_than - 2]
        found = (1 - LIST) * deepest + LIST * np.pad(inside, (2, 0))[:shorter_than]
    return found
