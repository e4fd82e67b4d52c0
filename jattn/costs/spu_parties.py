"""Runs one exported program on secret shares, all parties in this process, under SPU's own Python.

python spu_parties.py FOLDER: reads request.json, program.hlo and arguments.npz there, writes result.json and
outputs.npz. Without a folder it prints the versions that it finds. Imports nothing of jattn, whose JAX is another.
"""

import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

LIBRARIES = ("spu", "jax", "jaxlib", "numpy")
OPERATION = re.compile(r"- pphlo\.(\w+), executed (\d+) times, .*?send bytes (\d+) recv bytes \d+, send actions (\d+)")
LINK = re.compile(r"Link details: total send bytes (\d+), recv bytes (\d+), send actions (\d+), recv actions (\d+)")


def versions() -> dict[str, str | None]:
    """Of Python and of those libraries; None where one is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = None
    return found


def counts(log: str, parties: int) -> dict[str, Any]:
    """What SPU's log of all parties says: the totals of each, and what they sent together by operation.

    They write to one place and do not say which they are: they come by bytes sent, the most first.
    """
    totals = [tuple(map(int, found)) for found in LINK.findall(log)]
    if len(totals) != parties:
        raise ValueError(f"SPU's log ends with the link details of {parties} parties, got those of {len(totals)}.")
    operations: dict[str, list[int]] = {}
    for name, *numbers in OPERATION.findall(log):
        operations[name] = [before + int(n) for before, n in zip(operations.get(name, (0, 0, 0)), numbers, strict=True)]
    # all parties run the same operations
    counted = {name: (runs // parties, sent, messages) for name, (runs, sent, messages) in operations.items()}
    return {"parties": sorted(totals, reverse=True), "operations": counted}


def _config(request: dict) -> Any:
    from spu import libspu

    config = libspu.RuntimeConfig(
        protocol=getattr(libspu.ProtocolKind, request["protocol"]), field=libspu.FieldType.FM64
    )
    config.beaver_type = getattr(libspu.RuntimeConfig.BeaverType, request["beaver"])
    config.enable_pphlo_profile = config.enable_hal_profile = True
    return config


def _compiled(request: dict, hlo: str, inputs: int) -> Any:
    from jaxlib import xla_client
    from spu import api, libspu

    options = libspu.CompilerOptions()
    options.enable_optimize_denominator_with_broadcast = request["denominator"] == "once"
    source = libspu.CompilationSource(
        ir_type=libspu.SourceIRType.XLA,
        # text, since the numbers of instructions in a newer binary form do not fit this parser
        ir_txt=xla_client._xla.hlo_module_from_text(hlo).as_serialized_hlo_module_proto(),
        input_visibility=[libspu.Visibility.VIS_SECRET] * inputs,
    )
    return libspu.Executable(
        name="program",
        input_names=[f"in{n}" for n in range(inputs)],
        output_names=[f"out{n}" for n in range(request["outputs"])],
        code=api.compile(source, options),
    )


def _run(request: dict, program: Any, shares: list) -> tuple[list, str]:
    """Every party's outputs, and the log of all."""
    from spu import api, libspu

    parties = request["parties"]
    network = libspu.link.Desc()
    for rank in range(parties):
        network.add_party(f"party {rank}", f"memory {rank}")
    found: list = [None] * parties
    failed: list[BaseException] = []

    def party(rank: int) -> None:
        try:
            runtime = api.Runtime(libspu.link.create_mem(network, rank), _config(request))
            for name, share in zip(program.input_names, shares, strict=True):
                runtime.set_var(name, share[rank])
            runtime.run(program)
            found[rank] = [runtime.get_var(name) for name in program.output_names]
        except BaseException as error:
            failed.append(error)

    # SPU logs past Python, to the first file descriptor
    with tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        before = os.dup(1)
        os.dup2(log.fileno(), 1)
        try:
            threads = [threading.Thread(target=party, args=(rank,), daemon=True) for rank in range(parties)]
            for thread in threads:
                thread.start()
            # a party whose peer has failed waits for it forever
            while any(thread.is_alive() for thread in threads) and not failed:
                time.sleep(0.002)
        finally:
            os.dup2(before, 1)
            os.close(before)
        if failed:
            raise failed[0]
        log.seek(0)
        return found, log.read().decode(errors="replace")


def main(folder: Path) -> None:
    """Runs the program of the folder and reads the log."""
    import numpy as np
    from spu import api, libspu

    request = json.loads((folder / "request.json").read_text())
    with np.load(folder / "arguments.npz", allow_pickle=False) as held:
        arguments = [held[f"in{n}"] for n in range(len(held.files))]
    try:
        program = _compiled(request, (folder / "program.hlo").read_text(), len(arguments))
        shared = api.Io(request["parties"], _config(request))
        shares = [shared.make_shares(argument, libspu.Visibility.VIS_SECRET) for argument in arguments]
        began = time.perf_counter()
        outputs, log = _run(request, program, shares)
        seconds = time.perf_counter() - began
        told = counts(log, request["parties"])
    except Exception as error:
        # SPU's own messages carry the stack of its C++ behind the first lines
        lines = [line.strip() for line in str(error).splitlines() if line.strip(" \twhat:")]
        _write(folder, {"error": f"{type(error).__name__}: {lines[0] if lines else ''}"})
    else:
        values = {f"out{n}": shared.reconstruct(list(each)) for n, each in enumerate(zip(*outputs, strict=True))}
        np.savez(folder / "outputs.npz", **values)
        _write(folder, {**told, "seconds": seconds, "versions": versions()})


def _write(folder: Path, result: dict) -> None:
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
        sys.stdout.flush()
        # parties that wait for one that failed never end
        os._exit(0)
    print(json.dumps(versions()))
