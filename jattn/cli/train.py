"""`jattn train`."""

import dataclasses
from pathlib import Path

from jattn.cli import runs


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a decoder, by default a small one on Shakespeare, and prints what it reached."""

    dir: str | None = None
    preset: str | None = None
    text: tuple[str, ...] = ()


def command(held: Train, found: dict, asks: bool) -> int:
    """Trains as the options say and prints what it reached."""
    from jattn.cli import options
    from jattn.training import loop, memory
    from jattn.training.presets import preset

    # before XLA's threads begin, which keep the settings they find
    memory.keep_freed()
    if "smoke" in found:
        if found.pop("smoke"):
            raise ValueError("--smoke takes no value; write --steps N for the length of a run.")
        found["preset"] = ["smoke"]
    own = {field.name for field in dataclasses.fields(held)}
    chosen = options.build(held, {name: words for name, words in found.items() if name in own})
    fields = {name: words for name, words in found.items() if name not in own}
    if chosen.text:
        fields |= {"source": ["text"], "source.files": list(chosen.text)}
    run = options.build(preset(chosen.preset or "default"), fields)
    if asks:
        print(options.page("train", held.__doc__, (chosen, run)), end="")
        return 0
    options.refuse_unknown(found, (chosen, run), "train")
    print(loop.fit(run, Path(chosen.dir) if chosen.dir else runs.place()))
    return 0
