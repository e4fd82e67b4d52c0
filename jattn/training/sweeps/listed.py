"""Executes a Python file and takes its list of runs."""

import contextlib
import sys
import traceback
import types
from pathlib import Path

from jattn.training.run import Run
from jattn.training.sweeps import names

LIST = "RUNS"
LONGEST = 300


def runs(file: Path) -> list[Run]:
    """The file's `RUNS`; what does not build one is refused in a sentence."""
    if not file.exists():
        raise FileNotFoundError(f"A sweep's file must exist, got {str(file)!r}; check the path.")
    if not file.is_file():
        raise IsADirectoryError(f"A sweep's file must be a Python file, got the directory {str(file)!r}; name a file.")
    held = executed(file)
    if not hasattr(held, LIST):
        raise ValueError(
            f"A sweep's file must build {LIST}, got {str(file)!r} without; write {LIST} = [Run(...), ...]."
        )
    names.check(getattr(held, LIST))
    return list(getattr(held, LIST))


def executed(file: Path) -> types.ModuleType:
    """The file as a module; it may import what lies beside it, and what it prints goes to stderr."""
    # no loader of the import system, which would write compiled code beside the file
    held = types.ModuleType(f"sweep_{file.stem}")
    held.__file__ = str(file)
    try:
        code = compile(file.read_bytes(), str(file), "exec")
    except (SyntaxError, ValueError) as error:
        where = f"{str(file)!r}, line {getattr(error, 'lineno', None) or 1}: {getattr(error, 'msg', error)}"
        raise ValueError(f"A sweep's file must be Python, got {where}; correct that line.") from None
    # dataclasses and type hints look a class's module up by its name
    sys.modules[held.__name__] = held
    sys.path.insert(0, str(file.resolve().parent))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(code, held.__dict__)
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        words = " ".join(str(error).split())[:LONGEST].rstrip(".;")
        where = f"{str(file)!r}, line {lines[-1] if lines else 1}: {type(error).__name__}: {words}"
        raise ValueError(f"A sweep's file must run to its end, got {where}; correct it.") from None
    finally:
        sys.path.remove(str(file.resolve().parent))
    return held
