"""`jattn convert`."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from jattn import catalogue
from jattn.cli import runs

# what papers call a feature, where that is not its name here
ALSO = {"lln": "log_normal"}


@dataclasses.dataclass(frozen=True)
class Convert:
    """Makes a run of linear attention from the RUN of a softmax model: jattn convert RUN --to FEATURE --dir NEW.

    Prints the held-out loss before and right after, and with --distill STEPS after so many steps that train the
    features alone on the weights of softmax. jattn train --resume NEW then trains all, for a tenth of the steps of RUN,
    or as --steps and every other option of a run says.
    """

    FIRST: ClassVar[str] = "run"

    run: str | None = None
    to: str | None = None
    dir: str | None = None
    distill: int = 0

    def __post_init__(self):
        if self.distill < 0:
            raise ValueError(
                f"--distill must be at least 0, got {self.distill}; it counts steps, and 0 distills nothing."
            )


def command(held: Convert, found: dict, asks: bool) -> int:
    """Converts as the options say and prints the losses."""
    from jattn.cli import options

    own = {field.name for field in dataclasses.fields(held)}
    chosen = options.build(held, {name: words for name, words in found.items() if name in own})
    if asks:
        print(options.page("convert", held.__doc__, (chosen,)), end="")
        return 0
    from jattn.parts.features import Feature

    known = ", ".join([*(catalogue.snake(entry.name) for entry in catalogue.choices(Feature)), *ALSO])
    if chosen.run is None:
        raise ValueError("jattn convert takes a run's directory first, got none; write jattn convert RUN --to FEATURE.")
    if chosen.to is None:
        raise ValueError(f"--to takes the features of linear attention, got none; it has {known}.")
    feature = catalogue.find(Feature, ALSO.get(chosen.to.lower(), chosen.to))()
    from jattn.training import checkpoint, convert, memory

    # before XLA's threads begin, which keep the settings they find
    memory.keep_freed()
    begun = checkpoint.read_run(Path(chosen.run), catalogue.find)
    made = convert.linear(begun, feature)
    run = options.build(made, {name: words for name, words in found.items() if name not in own})
    options.refuse_unknown(found, (chosen, run), "convert")
    place = Path(chosen.dir) if chosen.dir else runs.place()
    print(_told(convert.convert(Path(chosen.run), begun, run, place, distill=chosen.distill), run, chosen, place))
    return 0


def _told(reached: Any, run: Any, chosen: Convert, place: Path) -> str:
    name, unit = catalogue.snake(type(run.model.attention.feature).__name__), run.source.unit
    lines = [
        f"held-out loss    {reached.softmax:.4f} nats per {unit}, softmax, of {chosen.run}",
        f"                 {reached.converted:.4f} right after, with {name} features",
    ]
    if reached.distilled is not None:
        lines.append(
            f"                 {reached.distilled:.4f} after {chosen.distill:,} steps of distillation, to a cross "
            f"entropy of weights of {reached.mimicry:.4f} nats"
        )
    return "\n".join([*lines, f"go on with       jattn train --resume {place}, {run.steps:,} steps"])
