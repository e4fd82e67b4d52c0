"""Writes a sweep as a script for Slurm: an array with a task a run."""

import re
import shlex
from collections.abc import Sequence

# before a task's time is over: enough to end a step and save
WARNING_SECONDS = 120


def script(command: Sequence[str], name: str, count: int, at_once: int | None = None) -> str:
    """The script; `command` takes `--index N` behind it, and `at_once` bounds the tasks that run together."""
    bound = "" if at_once is None else f"%{at_once}"
    words = shlex.join(command)
    return "\n".join(
        [
            "#!/bin/bash",
            f"#SBATCH --job-name={re.sub(r'[^A-Za-z0-9._-]', '_', name)}",
            f"#SBATCH --array=0-{count - 1}{bound}",
            "# a task that is stopped saves first; submitted again, it goes on from there, and what is done is left",
            f"#SBATCH --signal=TERM@{WARNING_SECONDS}",
            f'srun {words} --index "$SLURM_ARRAY_TASK_ID"',
            f"# when all have ended, this prints the table: {words}",
            "",
        ]
    )
