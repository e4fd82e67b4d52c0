"""A whole training run as one frozen dataclass: what is trained, on what, how, for how long and from which seed."""

import json
from typing import Literal

from jattn.models import Model
from jattn.models.decoder import DecoderConfig
from jattn.part import part
from jattn.training import checks
from jattn.training.objectives import Objective
from jattn.training.objectives.next_token import NextToken
from jattn.training.optimizers import Optimizer
from jattn.training.optimizers.muon import Muon
from jattn.training.plain import Resolve, from_plain, to_plain
from jattn.training.sharding import Mesh
from jattn.training.sources import Source
from jattn.training.sources.shakespeare import Shakespeare

# what a source may need of a model, in words
NEEDED = {"vocabulary": "tokens", "classes": "classes"}


@part
class Run:
    """Equal runs give equal losses on one machine; its `repr` opens the log and its JSON is `run.json`.

    `steps` are optimizer steps on `batch` windows of `context` tokens each. `evaluate_every` and `checkpoint_every`
    are in steps; both happen at the end too, where all that is held out is scored, or evenly spaced windows of a very
    long text; before that a sample of 256 windows. `remat="block"` recomputes each block in the backward pass;
    `accumulate` cuts the batch of a step into that many equal pieces, run one after another: the same step in less
    memory. `mesh` spreads the run over several devices, which changes its losses by rounding alone. `init_from` is
    another run's directory, whose newest params and buffers this one begins with.
    """

    model: Model = DecoderConfig()
    objective: Objective = NextToken()
    source: Source = Shakespeare()
    optimizer: Optimizer = Muon()
    steps: int = 4300
    batch: int = 8
    accumulate: int = 1
    context: int = 128
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "block"] = "none"
    mesh: Mesh = Mesh()
    evaluate_every: int = 500
    checkpoint_every: int = 1000
    init_from: str | None = None

    def __post_init__(self):
        for name, kind in (
            ("model", Model), ("objective", Objective), ("source", Source), ("optimizer", Optimizer),
            ("mesh", Mesh),
        ):  # fmt: skip
            if not isinstance(held := getattr(self, name), kind):
                raise TypeError(f"Run.{name} must be a {kind.__name__}, got {held!r}; pass an instance of one.")
        checks.whole("Run", "steps", self.steps, 1, "give the number of optimizer steps, as in --steps 4300")
        checks.whole("Run", "batch", self.batch, 1, "give the number of windows a step, as in --batch 8")
        checks.whole("Run", "accumulate", self.accumulate, 1, "1 takes the whole batch at once")
        if self.batch % self.accumulate:
            near = self.accumulate * max(1, round(self.batch / self.accumulate))
            raise ValueError(
                f"Run.batch must be a multiple of Run.accumulate, got {self.batch} windows in {self.accumulate} "
                f"pieces; use --batch {near}."
            )
        if self.accumulate > 1 and not self.objective.mean:
            raise ValueError(
                f"Run.accumulate must be 1 where the objective is no mean over the batch, got {self.accumulate}; take "
                f"another objective, or a smaller batch."
            )
        checks.whole("Run", "context", self.context, 1, "give the tokens that a window holds, as in --context 128")
        checks.between("Run", "seed", self.seed, 0, 2**31 - 1, "give a small whole number, as in --seed 0")
        checks.whole("Run", "seed", self.seed, 0, "give a small whole number, as in --seed 0")
        checks.whole("Run", "evaluate_every", self.evaluate_every, 1, "more than `steps` evaluates at the end alone")
        checks.whole("Run", "checkpoint_every", self.checkpoint_every, 1, "more than `steps` saves at the end alone")
        cure = "float16 overflows in training; use 'bfloat16'" if self.dtype == "float16" else "use 'float32'"
        checks.one_of("Run", "dtype", self.dtype, ("float32", "bfloat16"), cure)
        checks.one_of("Run", "remat", self.remat, ("none", "block"), "use 'none' unless memory is short")
        if self.init_from is not None and not (isinstance(self.init_from, str) and self.init_from):
            raise TypeError(f"Run.init_from must be a run's directory, got {self.init_from!r}; give its path.")
        for name, least in self.source.needs.items():
            if (size := getattr(self.model, name, None)) is not None and size < least:
                raise ValueError(
                    f"Run.model.{name} must hold the source's {least} {NEEDED[name]}, got {size}; use "
                    f"--model.{name} {least}."
                )

    @property
    def tokens(self) -> int:
        """Tokens that attention reads of each example."""
        return self.model.tokens(self.context)

    def to_json(self) -> str:
        """Plain data, parts by their class names."""
        return json.dumps(to_plain(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str, resolve: Resolve) -> "Run":
        """The run that `to_json` wrote; `resolve(slot, name)` gives the class of that name in that slot."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict) or data.get("name") != "Run":
            raise ValueError(
                f"run.json must be the JSON that training wrote, got {text[:40]!r}; each checkpoint has a copy in its "
                f"run/metadata."
            )
        return from_plain(data, Run, resolve)
