"""What parties send one another where a function runs on secret shares, measured under SecretFlow's SPU.

Source: Ma et al., "SecretFlow-SPU: A Performant and User-Friendly Framework for Privacy-Preserving Machine Learning",
USENIX ATC 2023.
"""

import dataclasses
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np

VARIABLE = "JATTN_SPU_PYTHON"
SPU, PYTHONS = "0.9.5", ("3.10", "3.11")
SCRIPT = Path(__file__).with_name("spu_parties.py")
CURE = (
    f"make its environment with `python3.11 -m venv spu-environment` and `spu-environment/bin/pip install spu=={SPU}`, "
    f"and set {VARIABLE}=spu-environment/bin/python"
)
Beaver = Literal["TrustedFirstParty", "TrustedThirdParty", "MultiParty"]
Denominator = Literal["broadcast", "once"]


class Protocol(NamedTuple):
    """How many parties compute, and what of the work that could be done ahead of the inputs is in the counts."""

    parties: int
    offline: str
    source: str


PROTOCOLS = {
    "semi2k": Protocol(
        2,
        "not counted: multiplication triples come from a dealer, by default the first party",
        'Cramer et al., "SPDZ2k", CRYPTO 2018, semi-honest',
    ),
    "aby3": Protocol(3, "there is none: three parties multiply without triples", 'Mohassel, Rindal, "ABY3", CCS 2018'),
    "cheetah": Protocol(
        2, "counted, together with the rest", 'Huang et al., "Cheetah", USENIX Security 2022, arXiv:2207.10379'
    ),
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """Which protocol, where its triples come from, and how SPU divides by what was broadcast.

    With the `denominator` "broadcast", SPU's default, a row of weights over its sum is a division for each weight;
    "once" makes it one for each row and a product.
    """

    protocol: str = "semi2k"
    denominator: Denominator = "broadcast"
    beaver: Beaver = "TrustedFirstParty"

    def __post_init__(self):
        for name, allowed in (
            ("protocol", tuple(PROTOCOLS)), ("denominator", get_args(Denominator)), ("beaver", get_args(Beaver)),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"Setting.{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}; leave it out "
                    f"for {allowed[0]}."
                )


class Sent(NamedTuple):
    """Bytes and messages; several messages may travel at once, so that rounds are no more than messages."""

    bytes: int
    messages: int


class Party(NamedTuple):
    """What one party sent and received."""

    sent: Sent
    received: Sent


class Measured(NamedTuple):
    """The outputs in fixed point, what each party sent, and all of them by operation, with how often it ran.

    Parties come by bytes sent, the most first. `seconds` are those of the run on this machine; versions are of the
    other side.
    """

    outputs: list[np.ndarray]
    parties: tuple[Party, ...]
    operations: dict[str, tuple[int, Sent]]
    seconds: float
    versions: dict[str, str]

    @property
    def sent(self) -> Sent:
        """By all parties together."""
        return Sent(*(sum(party.sent[n] for party in self.parties) for n in range(2)))


def interpreter(named: str | Path | None = None) -> Path:
    """The Python that has SPU: the one named, or that of the environment variable JATTN_SPU_PYTHON.

    Raises FileNotFoundError where there is none, RuntimeError where it has another Python or no SPU.
    """
    chosen = os.environ.get(VARIABLE) if named is None else named
    if not chosen or not Path(chosen).is_file():
        raise FileNotFoundError(f"SPU runs in a Python of its own, got {str(chosen or 'none')!r}; {CURE}.")
    found = _versions(Path(chosen))
    if found["python"] is None:
        raise RuntimeError(f"SPU runs in a Python of its own, got {str(chosen)!r}, which does not run as one; {CURE}.")
    if not found["python"].startswith(tuple(f"{version}." for version in PYTHONS)):
        raise RuntimeError(f"SPU {SPU} needs Python {' or '.join(PYTHONS)}, got Python {found['python']}; {CURE}.")
    if found["spu"] != SPU:
        held = f"spu {found['spu']}" if found["spu"] else "none"
        raise RuntimeError(f"SPU {SPU} must be installed beside its Python, got {held} in {str(chosen)!r}; {CURE}.")
    return Path(chosen)


def missing(named: str | Path | None = None) -> str | None:
    """Why SPU cannot run here, in one sentence; None where it can."""
    try:
        interpreter(named)
    except (FileNotFoundError, RuntimeError) as error:
        return str(error)
    return None


def exported(function: Callable, *arguments: Any) -> tuple[str, list[np.ndarray]]:
    """The function as the text of an HLO module, and its arguments as a flat list."""
    lowered = jax.jit(function, keep_unused=True).trace(*arguments).lower(lowering_platforms=("cpu",))
    # left out by default, constants of more than a few numbers would be read as anything
    text = lowered.compiler_ir("hlo").as_hlo_text(print_large_constants=True)
    return text, [np.asarray(leaf) for leaf in jax.tree.leaves(arguments)]


def measure(
    function: Callable, *arguments: Any, setting: Setting = Setting(), python: str | Path | None = None
) -> Measured:
    """Runs the function with all arguments secret, every party in one process, which send what they would elsewhere.

    Arrays that the function closes over are public. Bytes and messages do not depend on the values; under aby3 chance
    deals them among the parties, under cheetah bytes differ by what compression saves. `python` is as in `interpreter`.
    Raises RuntimeError for what SPU refuses.
    """
    runs_it, protocol = interpreter(python), PROTOCOLS[setting.protocol]
    hlo, flat = exported(function, *arguments)
    outputs = len(jax.tree.leaves(jax.eval_shape(function, *arguments)))
    request = {
        "protocol": setting.protocol.upper(),
        "denominator": setting.denominator,
        "beaver": setting.beaver,
        "parties": protocol.parties,
        "outputs": outputs,
    }
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        (folder / "program.hlo").write_text(hlo, encoding="utf-8")
        np.savez(folder / "arguments.npz", **{f"in{n}": array for n, array in enumerate(flat)})
        done = _python(runs_it, str(folder))
        if not (folder / "result.json").exists():
            last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise RuntimeError(f"SPU must finish a program, got {last[0]!r}; run {SCRIPT.name} by hand to see more.")
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if "error" in result:
            raise RuntimeError(f"SPU must be able to run a program as {setting}, got {result['error']}; change either.")
        with np.load(folder / "outputs.npz", allow_pickle=False) as values:
            found = [values[f"out{n}"] for n in range(outputs)]
    parties = tuple(
        Party(Sent(sent, messages), Sent(received, others)) for sent, received, messages, others in result["parties"]
    )
    operations = {name: (runs, Sent(*sent)) for name, (runs, *sent) in result["operations"].items()}
    return Measured(found, parties, operations, result["seconds"], result["versions"])


def _versions(python: Path) -> dict:
    try:
        return json.loads(_python(python).stdout)
    except (OSError, ValueError):
        return {"python": None, "spu": None}


def _python(python: Path, *words: str) -> subprocess.CompletedProcess:
    # -I: neither this folder nor what this environment sets is seen over there
    return subprocess.run([str(python), "-I", str(SCRIPT), *words], capture_output=True, text=True, check=False)
