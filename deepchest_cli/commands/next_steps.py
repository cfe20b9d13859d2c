"""Parts of the commands that usually follow, written so that they can be pasted."""

from collections.abc import Sequence
from shlex import quote

from deepchest_cli.config import DEFAULT_DATA, find_data


def data_flags(folders: Sequence[str]) -> str:
    """Return the flags that name data; none for what a command without them would take."""
    if tuple(folders) == find_data((str(DEFAULT_DATA),))[0]:
        return ""
    return "".join(f" --data {quote(folder)}" for folder in folders)


def training_command(folders: Sequence[str], synthetic: bool = False) -> str:
    """Return the command that trains on data; on synthetic ones in minutes."""
    recipe = " --recipe quick" if synthetic else ""
    return f"deepchest train{recipe}{data_flags(folders)}"
