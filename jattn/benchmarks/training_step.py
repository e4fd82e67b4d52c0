"""Times one training step beside the same model in PyTorch, eager and compiled, and beside ours with sigmaReparam.

All take turns in this process.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jattn.benchmarks import Row, turns
from jattn.layers.reparametrizations.sigma_reparam import SigmaReparam
from jattn.models.decoder import DecoderConfig
from jattn.training import state
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.step import training_step

EAGER, COMPILED, OURS, SIGMA = "PyTorch eager", "PyTorch compiled", "jattn", "jattn, sigmaReparam"


class Setting(NamedTuple):
    """`peers` are those of `EAGER` and `COMPILED` that take part; `turns` are steps a round."""

    run: Run
    rounds: int
    turns: int
    peers: tuple[str, ...]


# 853 thousand parameters, 768 tokens a step
RUN = Run(model=DecoderConfig(width=128, depth=4, heads=4), optimizer=AdamW(), steps=10_000, batch=12, context=64)
TINY = Run(model=DecoderConfig(width=16, depth=1, heads=2), optimizer=AdamW(), steps=100, batch=2, context=8)
FULL = Setting(RUN, rounds=9, turns=20, peers=(EAGER, COMPILED))
# torch.compile takes half a minute at any size
SMOKE = Setting(TINY, rounds=1, turns=1, peers=(EAGER,))


def measure(setting: Setting) -> list[Row]:
    """A row for each contender; when its first step was done, or why it does not run here, stands in the note."""
    run = setting.run
    tokens = np.random.default_rng(0).integers(0, run.model.vocabulary, (run.batch, run.context + 1)).astype(np.int32)
    case = f"{run.batch} of {run.context} tokens, width {run.model.width}, layers {run.model.depth}"
    made, memory, notes, broken = {}, {}, {}, []
    reparametrized = dataclasses.replace(run, model=dataclasses.replace(run.model, reparametrization=SigmaReparam()))
    own = {OURS: run, SIGMA: reparametrized}
    for name in (*setting.peers, *own):
        began = time.perf_counter()
        try:
            made[name], memory[name] = ours(own[name], tokens) if name in own else peer(run, tokens, name)
            made[name]()
        except Exception as error:
            # what a compiler raises where it lacks its tools has no class of its own
            if name != COMPILED:
                raise
            made.pop(name, None)
            broken.append(Row(case, name, None, None, EAGER, note=_one_line(error)))
        notes[name] = f"first step after {time.perf_counter() - began:.0f} s"
    taken = turns.interleaved(made, setting.rounds, setting.turns)
    alone = {name: taken[name] for name in own}
    beside = {name: figures for name, figures in taken.items() if name != SIGMA}
    found = turns.rows(case, beside, EAGER, memory, notes) + broken
    return found + turns.rows(f"{case}, on every kernel", alone, OURS, memory, notes)


def ours(run: Run, tokens: np.ndarray) -> tuple[Callable[[], float], int | None]:
    """Our step, statistics included, as a function that returns the loss, and its temporary bytes."""
    held, batch = state.fresh(run), {"tokens": tokens}
    step = training_step(run).lower(held, batch).compile()

    def turn() -> float:
        nonlocal held
        held, metrics = step(held, batch)
        jax.block_until_ready(metrics)
        return float(metrics.loss)

    return turn, turns.temporary_bytes(step)


def peer(run: Run, tokens: np.ndarray, kind: str) -> tuple[Callable[[], float], None]:
    """The same model and step in PyTorch: SDPA, fused AdamW, clipping; all cores. It does not tell its memory."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(run.seed)
    model = run.model
    width, heads, hidden = model.width, model.heads, model.expansion * model.width
    half = width // heads // 2
    angle = torch.arange(run.context)[:, None] * 10000.0 ** (-torch.arange(half) / half)
    cosine, sine = angle.cos(), angle.sin()

    def turned(x):
        first, second = x.chunk(2, -1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.before_mixer, self.before_feedforward = nn.RMSNorm(width), nn.RMSNorm(width)
            self.mix = nn.ModuleList([nn.Linear(width, width, bias=False) for _ in range(4)])
            self.up, self.down = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)

        def forward(self, x):
            into = self.before_mixer(x)
            q, k, v = (m(into).view(*x.shape[:2], heads, -1).transpose(1, 2) for m in self.mix[:3])
            out = F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
            x = x + self.mix[3](out.transpose(1, 2).reshape(x.shape))
            return x + self.down(F.relu(self.up(self.before_feedforward(x))).square())

    embedding, layers = nn.Embedding(model.vocabulary, width), [Layer() for _ in range(model.depth)]
    net = nn.Sequential(embedding, *layers, nn.RMSNorm(width), nn.Linear(width, model.vocabulary, bias=False))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    # shares its parameters with the net
    called = torch.compile(net) if kind == COMPILED else net

    def turn() -> float:
        data = torch.from_numpy(tokens).long()
        logits = called(data[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), data[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return turn, None


def _one_line(error: Exception) -> str:
    return f"does not run here: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
