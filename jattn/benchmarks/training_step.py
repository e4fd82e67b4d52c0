"""Times one training step beside the same model in PyTorch, both in this process and in turns.

Run by `python -m jattn.benchmarks.training_step`; prints milliseconds and the ratio, medians over interleaved rounds.
"""

import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from jattn.models.decoder import DecoderConfig
from jattn.training import state
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.step import training_step

# 853 thousand parameters, 768 tokens a step
SETTING = Run(model=DecoderConfig(width=128, depth=4, heads=4), optimizer=AdamW(), steps=10_000, batch=12, context=64)
ROUNDS, TURNS, WARM_UP = 9, 20, 5


def ours(run: Run) -> Callable[[np.ndarray], float]:
    """Our step, statistics included, as a function from tokens to the loss."""
    step, held = training_step(run), state.fresh(run)

    def turn(tokens: np.ndarray) -> float:
        nonlocal held
        held, metrics = step(held, {"tokens": tokens})
        jax.block_until_ready(metrics)
        return float(metrics.loss)

    return turn


def peer(run: Run) -> Callable[[np.ndarray], float]:
    """The same model and step in PyTorch eager: SDPA, fused AdamW, clipping; all cores."""
    try:
        import torch
    except ImportError as error:
        raise ImportError('The peer needs PyTorch, which is absent; run pip install "jattn[bench]".') from error
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

    def turn(tokens: np.ndarray) -> float:
        data = torch.from_numpy(tokens).long()
        logits = net(data[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), data[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return turn


def compare(contenders: dict[str, Callable[[np.ndarray], float]], run: Run, rounds: int, turns: int) -> dict:
    """Median milliseconds a step of each contender, one a round, all in turns."""
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, run.model.vocabulary, (run.batch, run.context + 1)).astype(np.int32)
    taken = {name: [] for name in contenders}
    for turn in contenders.values():
        for _ in range(WARM_UP):
            turn(tokens)
    for _ in range(rounds):
        for name, turn in contenders.items():
            # the first pays for what its predecessor left in the caches
            turn(tokens)
            steps = []
            for _ in range(turns):
                began = time.perf_counter()
                turn(tokens)
                steps.append(1e3 * (time.perf_counter() - began))
            taken[name].append(statistics.median(steps))
    return taken


def main() -> None:
    taken = compare({"PyTorch eager": peer(SETTING), "jattn": ours(SETTING)}, SETTING, ROUNDS, TURNS)
    for name, rounds in taken.items():
        print(f"{name:14} {statistics.median(rounds):7.1f} ms a step   {min(rounds):.1f} to {max(rounds):.1f}")
    ratios = [a / b for a, b in zip(taken["jattn"], taken["PyTorch eager"], strict=True)]
    print(f"ratio          {statistics.median(ratios):7.2f}              {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
