"""Times attention beside its peers and beside plain causal attention; compares each with the definition first.

A gradient's time is that of the value and the gradients together.
"""

from typing import NamedTuple

import jax

from jattn.benchmarks import Row, contest
from jattn.benchmarks.calls import FORWARD, GRADIENT, Call
from jattn.benchmarks.contest import OURS
from jattn.benchmarks.peers import BY_HAND, CUDNN, JAX, TOKAMAX, TORCH
from jattn.mechanisms.attention import Attention
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.normalizers.entmax import Entmax
from jattn.parts.normalizers.signed_softmax import SignedSoftmax
from jattn.parts.scores.soft_cap import SoftCap
from jattn.parts.scores.t5_bias import T5Bias

PLAIN = "causal"
# what a ratio is of
TIME, MULTIPLY_ADD = "time", "time per multiply-add"


class Case(NamedTuple):
    """Contenders that take turns: `peers` by name, which do what the first of our `calls` does, and our calls.

    Ratios are to the first contender, of what `ratio` names.
    """

    title: str
    calls: dict[str, Call]
    peers: tuple[str, ...] = ()
    directions: tuple[str, ...] = (FORWARD, GRADIENT)
    ratio: str = TIME
    rounds: int = 3
    turns: int = 1
    devices: tuple[str, ...] = ("cpu", "gpu", "tpu")


def _causal(**parts) -> Attention:
    return Attention(mask=Causal(), **parts)


BASE = Call(4096, "Transformer base's heads, Llama 2's context")
LONG = BASE._replace(length=8192, origin="Llama 3's context")


def _bfloat16(length: int) -> Case:
    call = Call(length, "PaLM's dtype", batch=max(1, 8192 // length), dtype="bfloat16")
    ours = {OURS: call, f"{OURS}, entropy read": call._replace(reads="entropy")}
    return Case(f"causal, {call.batch} of {length} tokens, bfloat16", ours, (CUDNN,), turns=5, devices=("gpu",))


FULL = (
    # the peer's gradient takes seconds and a GiB
    Case("causal, 4096 tokens, 8 heads of 64", {OURS: BASE}, (JAX, TORCH, TOKAMAX)),
    Case(
        "full, 8 of 197 tokens, 12 heads of 64",
        {OURS: Call(197, "ViT-B/16", heads=12, batch=8, attention=Attention(mask=Full()))},
        (JAX, TORCH),
        rounds=7,
        turns=10,
    ),
    Case(
        "causal, 1024 tokens, 12 heads of 64, entropy read",
        {OURS: Call(1024, "GPT-2", heads=12, reads="entropy")},
        (BY_HAND,),
        rounds=7,
        turns=2,
    ),
    Case(
        f"{MULTIPLY_ADD}, causal",
        {
            "4096 tokens": BASE,
            "1009 tokens": BASE._replace(length=1009, origin="a prime"),
            "4095 tokens": BASE._replace(length=4095, origin="a context without its last token"),
            "5000 tokens": BASE._replace(length=5000, origin="no power of two"),
            "2 heads": BASE._replace(heads=2, origin="jattn train's default"),
            "16 heads": BASE._replace(heads=16, origin="BERT-large"),
            "width 128": BASE._replace(width=128, origin="Llama 2"),
        },
        ratio=MULTIPLY_ADD,
    ),
    Case(
        "8192 tokens, 8 heads of 64",
        {
            PLAIN: LONG,
            "window 256": LONG._replace(attention=Attention(mask=Window(256)), origin="Longformer"),
            "64 packed documents of 128": LONG._replace(documents=64, origin="BERT's 128"),
        },
    ),
    Case(
        "what parts cost, 4096 tokens, 8 heads of 64",
        {
            PLAIN: BASE,
            "entropy read": BASE._replace(reads="entropy"),
            "learned T5 bias": BASE._replace(attention=_causal(score=T5Bias()), origin="T5"),
            "soft cap": BASE._replace(attention=_causal(score=SoftCap()), origin="Gemma 2"),
            "dropout 0.1": BASE._replace(attention=_causal(dropout=0.1), origin="Transformer base"),
            "signed softmax": BASE._replace(attention=_causal(normalizer=SignedSoftmax()), origin="Cog Attention"),
            "entmax 1.5": BASE._replace(attention=_causal(normalizer=Entmax()), origin="Correia et al. 2019"),
        },
        directions=(GRADIENT,),
    ),
    *map(_bfloat16, (1024, 4096, 32768)),
)
SMOKE = (Case("causal, 2 of 24 tokens", {OURS: Call(24, "none", heads=2, width=8, batch=2)}, (JAX, TORCH), rounds=1),)


def measure(setting: tuple[Case, ...]) -> list[Row]:
    """A row for each case, direction and contender; temporary memory is that of the compiled program."""
    return [row for case in setting if jax.default_backend() in case.devices for row in _measured(case)]


def multiply_adds(call: Call) -> int:
    """How many a causal call needs for its logits; as many again for its output, and backward in proportion."""
    return call.batch * call.heads * call.width * call.length * (call.length + 1) // 2


def _measured(case: Case) -> list[Row]:
    first, *_ = case.calls.values()
    entered = contest.entered(dict.fromkeys(case.peers, first), case.calls)
    present, absent = contest.checked(case.title, entered, case.directions)
    found = []
    for direction in case.directions:
        title = f"{case.title}, {direction}"
        rows = contest.timed(title, contest.prepared(present, direction), case.rounds, case.turns)
        if case.ratio == MULTIPLY_ADD:
            least = multiply_adds(case.calls[rows[0].peer])
            rows = [contest.scaled(row, least / multiply_adds(case.calls[row.contender])) for row in rows]
        found += rows + [Row(title, name, None, None, rows[0].peer, note=why) for name, why in absent.items()]
    return [row._replace(origin=entered[row.contender].call.origin) for row in found]
