"""`jattn eval`."""

import dataclasses
from typing import Any

from jattn.cli import runs

# where options begin that read a run's model otherwise than it was trained
ATTENTION = "model.attention."


@dataclasses.dataclass(frozen=True)
class Eval:
    """Measures the loss of a checkpoint on what is held out, in nats, and its accuracy where one is right or wrong.

    With another context, or another attention by any option --model.attention..., it is read otherwise than it was
    trained.
    """

    dir: str | None = None
    text: tuple[str, ...] = ()
    steps: int | None = None
    context: int | None = None


def command(held: Eval, found: dict, asks: bool) -> int:
    """Prints the loss on the held-out text, or on other files."""
    other = {name: words for name, words in found.items() if name.startswith(ATTENTION)}
    rest = {name: words for name, words in found.items() if name not in other}
    if (chosen := runs.built(held, rest, asks, "eval")) is None:
        return 0
    home = runs.directory(chosen.dir)
    from jattn.training import evaluate
    from jattn.training.sources import text
    from jattn.training.windows import Sliding

    run, variables = runs.trained(home, chosen.steps)
    run = _read_by(run, variables, other, chosen.context)
    if chosen.text:
        runs.check_bytes(run, "jattn eval --text")
        whole = text.joined(chosen.text)
        if len(whole) <= run.context:
            raise ValueError(f"--text must hold more bytes than the context {run.context}, got {len(whole)}; add text.")
        examples = Sliding(whole, run.context)
    else:
        examples = run.source.held_out(run.context)
    size = evaluate.batch_size(run, examples)
    numbers = evaluate.whole(examples)
    means = evaluate.means_on(evaluate.scorer(run), variables, examples, numbers, size)
    share = "" if len(numbers) == len(examples) else f"{len(numbers):,} of {len(examples):,} windows of "
    where = ", ".join(chosen.text) or f"the held-out {run.source.unit}s"
    right = f" and {means['accuracy']:.2%} right" if "accuracy" in means else ""
    print(f"{means['loss']:.4f} nats per {run.source.unit}{right} on {share}{where}")
    return 0


def _read_by(run: Any, variables: Any, fields: dict, context: int | None) -> Any:
    """The run with other options of its attention and another context, for the arrays that it has."""
    from jattn.cli import options
    from jattn.part import Variables
    from jattn.training import checkpoint, state

    asked = options.build(run, fields)
    options.refuse_unknown(fields, (asked,), "eval")
    if context is not None:
        asked = dataclasses.replace(asked, context=context)
    here = state.outline(asked)
    if told := checkpoint.differs(variables, state.of_model(Variables(here.params, here.buffers))):
        raise ValueError(
            f"jattn eval reads a run by an attention that has its arrays, got {told} for this one; choose parts that "
            f"learn nothing, and name those of the run first."
        )
    return asked
