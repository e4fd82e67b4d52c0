"""One aligned table of a sweep: a row a run, a column for each field in which the runs differ."""

from collections.abc import Mapping, Sequence

from jattn.training import checkpoint, metrics
from jattn.training.sweeps import results
from jattn.training.sweeps.names import Planned

REACHED = ("training loss", "held-out loss", "steps done", "seconds", "state")


def table(plans: Sequence[Planned], failed: Mapping[int, str]) -> str:
    """Losses in nats per token; `failed` holds the last words of those that did, by their place in the list."""
    fields = list(dict.fromkeys(name for planned in plans for name in planned.fields))
    lines = [["run", *fields, *REACHED]]
    for planned in plans:
        lines.append([str(planned.index), *(planned.fields.get(name, "-") for name in fields), *_row(planned, failed)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    # the numbers at the end of a row stand under each other
    right = range(len(widths) - len(REACHED), len(widths) - 1)
    shown = [
        "  ".join(word.rjust(width) if n in right else word.ljust(width) for n, (word, width) in places)
        for places in (list(enumerate(zip(line, widths, strict=True))) for line in lines)
    ]
    return "\n".join(line.rstrip() for line in shown)


def _row(planned: Planned, failed: Mapping[int, str]) -> list[str]:
    if held := results.read(planned.result, planned.run):
        reached = held["reached"]
        losses = [f"{reached[name]:.4f}" for name in ("train_loss", "heldout_loss") if "diverged" not in reached]
        state = "diverged" if "diverged" in reached else "done"
        return [*(losses or "--"), f"{reached['steps']:,}", f"{reached['seconds']:.1f}", state]
    steps = metrics.whole(planned.directory)
    begun = (planned.directory / checkpoint.RUN_FILE).is_file()
    state = "failed" if planned.index in failed else "begun" if begun else "waiting"
    return ["-", "-", f"{steps:,}", "-", state]
