"""Vision transformers on digits: the usual recipe with norms, and plain descent with neither norms nor warm-up."""

import dataclasses

from jattn.layers.reparametrizations.sigma_reparam import SigmaReparam
from jattn.models.vision_transformer import VisionTransformerConfig
from jattn.training.objectives.classification import Classification
from jattn.training.optimizers import Optimizer
from jattn.training.optimizers.adamw import AdamW
from jattn.training.optimizers.named import Optax
from jattn.training.run import Run
from jattn.training.sources.digits import Digits

STEPS = 800
# the rate of an arm is chosen on the first, and judged on the second
GRID_SEEDS, SEEDS = (10, 11), (0, 1, 2, 3, 4)
ADAMW_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
DESCENT_RATES = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
# a norm that no gradient has, for the optimizer always clips
UNCLIPPED = 1e6

NORMED = VisionTransformerConfig(
    width=32, depth=4, heads=4, norm="layer", activation="gelu", positions="sin_cos", pool="mean"
)
BARE = dataclasses.replace(NORMED, norm="none")
# gains start at each kernel's own norm, as in the paper's vision code
OURS = dataclasses.replace(BARE, reparametrization=SigmaReparam(gain="norm"))
USUAL = AdamW(warm_up=0.1)
DESCENT = Optax(method="sgd", arguments=("momentum=0.9",), warm_up=0.0, clip=UNCLIPPED)

ARMS: dict[str, tuple[VisionTransformerConfig, Optimizer, tuple[float, ...]]] = {
    "norms, usual recipe": (NORMED, USUAL, ADAMW_RATES),
    "sigmaReparam": (OURS, DESCENT, DESCENT_RATES),
    "neither": (BARE, DESCENT, DESCENT_RATES),
    "norms": (NORMED, DESCENT, DESCENT_RATES),
}
# the rate that the grid's runs give each arm by `report.chosen`, written down when they are there
CHOSEN: dict[str, float] = {"norms, usual recipe": 3e-3, "sigmaReparam": 3e-1, "neither": 3e-2, "norms": 3e-2}


def made(arm: str, rate: float, seed: int) -> Run:
    """The run of an arm."""
    model, optimizer, _ = ARMS[arm]
    return Run(
        model=model, objective=Classification(), source=Digits(), optimizer=dataclasses.replace(optimizer, rate=rate),
        steps=STEPS, batch=32, seed=seed, evaluate_every=STEPS // 4, checkpoint_every=STEPS,
    )  # fmt: skip


GRID = {(arm, rate, seed): made(arm, rate, seed) for seed in GRID_SEEDS for arm in ARMS for rate in ARMS[arm][2]}
JUDGED = {(arm, rate, seed): made(arm, rate, seed) for seed in SEEDS for arm, rate in CHOSEN.items()}
CELLS = GRID | JUDGED
RUNS = list(CELLS.values())
