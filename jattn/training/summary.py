"""What a finished run reached, in words."""

from pathlib import Path
from typing import NamedTuple

from jattn.models.decoder import DecoderConfig
from jattn.training import plots
from jattn.training.run import Run


class Summary(NamedTuple):
    """Losses in nats per token, time in seconds; `train_loss` is the mean of the last twentieth of the steps.

    `first` is the step after which the process that sums up began, and `seconds` is its time alone.
    """

    run: Run
    directory: Path
    train_loss: float
    held_out_loss: float
    seconds: float
    first: int = 0

    def __str__(self) -> str:
        unit = self.run.source.unit
        trained_on = self.run.steps * self.run.batch * self.run.source.units(self.run.context)
        since = f"since step {self.first:,}" if self.first else "in all"
        lines = [
            f"held-out loss    {self.held_out_loss:.4f} nats per {unit}",
            f"training loss    {self.train_loss:.4f} nats per {unit}, the mean of the last twentieth",
            f"trained on       {trained_on:,} {unit}s in {self.run.steps:,} steps, {self.seconds:.0f} s {since}",
        ]
        # no entropies are drawn where rows have no weights
        pictures = plots.LOSS_FILE, plots.ENTROPY_FILE, plots.HEADS_FILE
        drawn = [name for name in pictures if (self.directory / name).exists()]
        # a compressor tells each byte from those before it, as a decoder does
        decodes = isinstance(self.run.model, DecoderConfig)
        if decodes and self.run.source.references:
            lines.append("beside it, on the same held-out text, in nats per byte:")
            lines += [f"  {loss:.3f}  {name}" for name, loss in self.run.source.references.items()]
        lines += [
            f"files            {self.directory}: {', '.join(['run.json', 'metrics.jsonl', 'checkpoints/', *drawn])}",
            f"sample with      jattn sample --dir {self.directory}"
            if decodes
            else f"measure with     jattn eval --dir {self.directory}",
        ]
        return "\n".join(lines)
