"""`jattn eval`."""

import dataclasses

from jattn.cli import runs


@dataclasses.dataclass(frozen=True)
class Eval:
    """Measures the loss of a checkpoint on what is held out, in nats, and its accuracy where one is right or wrong."""

    dir: str | None = None
    text: tuple[str, ...] = ()
    steps: int | None = None


def command(held: Eval, found: dict, asks: bool) -> int:
    """Prints the loss on what is held out, or on other files."""
    if (chosen := runs.built(held, found, asks, "eval")) is None:
        return 0
    home = runs.directory(chosen.dir)
    from jattn.training import evaluate
    from jattn.training.sources import text
    from jattn.training.windows import Sliding

    run, variables = runs.trained(home, chosen.steps)
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
    found = evaluate.means_on(evaluate.scorer(run), variables, examples, numbers, size)
    share = "" if len(numbers) == len(examples) else f"{len(numbers):,} of {len(examples):,} windows of "
    where = ", ".join(chosen.text) or f"the held-out {run.source.unit}s"
    right = f", {found['accuracy']:.2%} right" if "accuracy" in found else ""
    print(f"{found['loss']:.4f} nats per {run.source.unit}{right}, on {share}{where}")
    return 0
