"""`jattn cost`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jattn import catalogue
from jattn.cli import runs


@dataclasses.dataclass(frozen=True)
class Cost:
    """Counts what a model computes where nobody may see its data, and prices it by --protocol.

    One example, of --context tokens where they are not those of an image; weights are one party's. Bytes and messages
    are those that one party sends. --dir names a trained run instead of a preset. --round-trip is in seconds,
    --bandwidth in bytes a second: from them and the protocol's messages and bytes a time is modelled.
    """

    preset: str | None = None
    dir: str | None = None
    protocol: str | None = None
    round_trip: float = 0.08
    bandwidth: float = 12.5e6
    json: str | None = None

    def __post_init__(self):
        if self.preset and self.dir:
            raise ValueError(f"The cost is of --preset or of --dir, got both, {self.dir!r}; leave one out.")
        if not self.round_trip >= 0:
            raise ValueError(f"--round-trip must be at least 0 seconds, got {self.round_trip}; 80 ms are 0.08.")
        if not self.bandwidth > 0:
            raise ValueError(
                f"--bandwidth must be above 0 bytes a second, got {self.bandwidth}; 100 Mbit/s are 12.5e6."
            )


def command(held: Cost, found: dict, asks: bool) -> int:
    """Prints the counts, and writes them to a file where one is named."""
    from jattn.cli import options

    own = {field.name for field in dataclasses.fields(held)}
    chosen = options.build(held, {name: words for name, words in found.items() if name in own})
    run = options.build(_run(chosen), {name: words for name, words in found.items() if name not in own})
    if asks:
        print(options.page("cost", held.__doc__, (chosen, run)), end="")
        return 0
    options.refuse_unknown(found, (chosen, run), "cost")
    from jattn.costs import model, paper, protocols, report
    from jattn.models.decoder import DecoderConfig

    if chosen.json:
        runs.check_writable("--json", Path(chosen.json))
    # a name that has no prices is refused before anything is traced
    protocol = chosen.protocol and protocols.find(chosen.protocol).name
    config, tokens = run.model, run.tokens
    made = model.model(config, run.context)
    each = " on each side" if model.sides(config) > 1 else ""
    print(f"{config.depth} blocks{each} of width {config.width} on one example of {tokens} tokens{each}")
    print(report.text(made.blocks))
    told = {"blocks": report.record(made.blocks), "around": report.record(made.around)}
    # the formula is of decoders alone
    if isinstance(config, DecoderConfig):
        flops = paper.feed_forward_flops(config, tokens), paper.attention_flops(config, tokens)
        print(f"by the paper's formula: feed-forward {paper.billions(flops[0])}, attention {paper.billions(flops[1])}")
        told["paper"] = {"feed_forward_flops": flops[0], "attention_flops": flops[1]}
    print(f"\naround them, inputs to logits\n{report.text(made.around)}")
    if protocol:
        bill = made.whole.under(protocol)
        print(f"\nall of it under {report.bill_text(bill, chosen.round_trip, chosen.bandwidth)}")
        told["bill"] = report.bill_record(bill, chosen.round_trip, chosen.bandwidth)
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 0


def _run(chosen: Cost) -> Any:
    from jattn.training.presets import preset

    if chosen.dir is None:
        return preset(chosen.preset or "default")
    from jattn.training import checkpoint

    return checkpoint.read_run(runs.directory(chosen.dir), catalogue.find)
