"""Blocks of entropy-guided attention, and what may replace their layer norms, at equal rates, steps and seeds."""

import dataclasses

from jattn.layers.reparametrizations.spectral_norm import SpectralNorm
from jattn.layers.reparametrizations.weight_norm import WeightNorm
from jattn.training.objectives.penalized import Penalized
from jattn.training.penalties.entropy_band import EntropyBand
from jattn.training.presets import preset
from jattn.training.run import Run

STEPS, BATCH, CONTEXT = 800, 4, 128
RATES = (1e-3, 3e-3, 1e-2)
SEEDS = (0, 1, 2)
# the published weight, of batches of 128 windows of 128 tokens, for a sum over as many rows as ours have
WEIGHT = 1e-5 * 128 * 128 / (BATCH * CONTEXT)


def sized(run: Run) -> Run:
    """The same block in a small decoder."""
    return dataclasses.replace(
        run, model=dataclasses.replace(run.model, width=64, depth=4, heads=4), steps=STEPS, batch=BATCH,
        context=CONTEXT, evaluate_every=STEPS // 4, checkpoint_every=STEPS // 2,
    )  # fmt: skip


def normalized(how: WeightNorm | SpectralNorm) -> Run:
    """Softmax alone, its feed-forward layers' kernels normalized."""
    bare = preset("SM")
    return dataclasses.replace(bare, model=dataclasses.replace(bare.model, reparametrization=how))


def guided(tolerance: float) -> Run:
    """The tempered block with the penalty."""
    penalty = EntropyBand(weight=WEIGHT, tolerance=tolerance)
    return dataclasses.replace(preset("EReg(SM(t)+ScFuFFN)"), objective=Penalized(penalty=penalty))


PLAIN = ("SM+LN+G", "SM+LN+R", "SM+LN", "SM+R", "SM+G", "SM", "SM+ScFFN", "SM+ScFuFFN", "SM(t)+ScFuFFN")
ARMS = {name: sized(preset(name)) for name in PLAIN} | {
    "SM+weight norm": sized(normalized(WeightNorm(where="feedforward"))),
    "SM+spectral norm": sized(normalized(SpectralNorm(where="feedforward"))),
    **{f"EReg {tolerance}": sized(guided(tolerance)) for tolerance in (0.1, 0.2, 0.3)},
}
CELLS = {
    (arm, rate, seed): dataclasses.replace(run, seed=seed, optimizer=dataclasses.replace(run.optimizer, rate=rate))
    for seed in SEEDS
    for arm, run in ARMS.items()
    for rate in RATES
}
RUNS = list(CELLS.values())
