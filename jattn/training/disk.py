"""Writes files whole or not at all, and says in one sentence what a full disk means for a run."""

import errno
import os
from pathlib import Path

FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


def write(path: Path, text: str) -> None:
    """Puts the text in place of the file at once: whoever reads sees all of the old or all of the new."""
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise told(path.parent, error) from None


def told(directory: Path, error: Exception) -> OSError:
    """What failed while a run's directory was written, with the cure."""
    full = getattr(error, "errno", None) in FULL or any(f"os_error_code='{code}'" in str(error) for code in FULL)
    why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error).strip()
    cure = "free some of its disk" if full else "see to its disk"
    return OSError(
        f"A run must be able to write into its directory, got {' '.join(why.split())[:300]!r} in {str(directory)!r}; "
        f"{cure} and go on from the last whole checkpoint with jattn train --resume {directory}."
    )
