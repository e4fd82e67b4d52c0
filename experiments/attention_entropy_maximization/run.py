"""Bags of MNIST digits, too few not to be learned by heart, with and without a penalty on what attention rests."""

from jattn.models.bag import BagConfig
from jattn.parts.pools.gated_attention import GatedAttention
from jattn.training.objectives.classification import Classification
from jattn.training.objectives.penalized import Penalized
from jattn.training.optimizers.adamw import AdamW
from jattn.training.penalties.attention_entropy_maximization import AttentionEntropyMaximization
from jattn.training.run import Run
from jattn.training.sources.bags import Bags

STEPS, BATCH, LARGEST, BAGS = 400, 8, 20, 100
# the paper's lambda: none first, and 0.1 as in the example of its code
WEIGHTS = (0.0, 0.01, 0.1, 0.5)
RATES = (1e-3, 3e-3)
SEEDS = (0, 1, 2, 3)

MODEL = BagConfig(width=64, features=28**2, pool=GatedAttention(width=64), activation="relu")
CELLS = {
    (weight, rate, seed): Run(
        model=MODEL, objective=Penalized(Classification(), AttentionEntropyMaximization(weight)),
        source=Bags(images="mnist", bags=BAGS), optimizer=AdamW(rate=rate), steps=STEPS, batch=BATCH,
        context=LARGEST, seed=seed, evaluate_every=STEPS, checkpoint_every=STEPS,
    )
    for seed in SEEDS
    for weight in WEIGHTS
    for rate in RATES
}  # fmt: skip
RUNS = list(CELLS.values())
