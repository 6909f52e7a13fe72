"""Where the files that an execution is given may lie in its workspace: one set of rules for all who take such paths.

The API server has the same rules as CEL (``contracts.execution``); these hold where it does not look: in the
executor, which also runs alone, in the client, and for rules that CEL cannot afford.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from contracts import bounds

PROGRESS_FILE: Final = ".progress.json"
"""Where the code writes its progress, in the workspace."""

RELATIVE_MESSAGE: Final = (
    "a file's path is relative to the workspace: no leading or trailing /, no empty part, no . or .., "
    "for example data/input.csv"
)
CONTROL_MESSAGE: Final = "a file's path has no control characters, such as line feeds: leave them out"
LENGTH_MESSAGE: Final = f"a file's path is at most {bounds.MAX_FILE_PATH_BYTES} bytes of UTF-8 long: shorten it"
DEPTH_MESSAGE: Final = f"a file's path has at most {bounds.MAX_FILE_PATH_PARTS} parts: use fewer directories"
RESERVED_MESSAGE: Final = f"{PROGRESS_FILE} is where the code writes its progress: choose another path"
TWICE_MESSAGE: Final = "a path stands twice in files: write each file once"
NESTED_MESSAGE: Final = "one path of files is a directory of another, and cannot be a file too: rename one of them"
TOTAL_MESSAGE: Final = f"all files together are larger than {bounds.MAX_FILES_BYTES} bytes: make them smaller"

_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")


def check_path(path: str) -> str:
    """The path as it is.

    Raises:
        ValueError: a file cannot be put there; the text says what to write.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(RELATIVE_MESSAGE)
    if _CONTROL.search(path):
        raise ValueError(CONTROL_MESSAGE)
    if len(path.encode("utf-8", "surrogatepass")) > bounds.MAX_FILE_PATH_BYTES:
        raise ValueError(LENGTH_MESSAGE)
    if len(parts) > bounds.MAX_FILE_PATH_PARTS:
        raise ValueError(DEPTH_MESSAGE)
    if parts[0] == PROGRESS_FILE:
        raise ValueError(RESERVED_MESSAGE)
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError("a file's path is UTF-8 text, without half surrogate pairs") from None
    return path


def check_together(paths: Iterable[str]) -> None:
    """Whether all of them can be files at once.

    Raises:
        ValueError: one stands twice, or is a directory of another.
    """
    for before, after in pairwise(sorted(path.split("/") for path in paths)):  # what is below a path stands behind it
        if before == after:
            raise ValueError(TWICE_MESSAGE)
        if after[: len(before)] == before:
            raise ValueError(NESTED_MESSAGE)


FilePath = Annotated[str, Field(min_length=1, max_length=bounds.MAX_FILE_PATH_BYTES), AfterValidator(check_path)]
