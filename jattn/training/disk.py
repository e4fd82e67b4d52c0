"""Writes files whole or not at all, and says in one sentence what a full disk means for a run."""

import errno
import os
import re
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
    # orbax's errors come from another language and hold the number in their text
    named = re.search(r"os_error_code='(\d+)'", str(error))
    code = int(named[1]) if named else getattr(error, "errno", None)
    why = os.strerror(code) if code else " ".join(str(error).split())[:300]
    cure = "free some of its disk" if code in FULL else "see to its disk"
    return OSError(
        f"A run must be able to write into its directory, got {why!r} in {str(directory)!r}; {cure} and go on from the "
        f"last whole checkpoint with jattn train --resume {directory}."
    )
