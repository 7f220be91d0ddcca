"""Numbered folders: how segments, derived structures and versions are named on disk."""

import re
from pathlib import Path


def numbered_name(number: int) -> str:
    """Return the name of the folder with this number."""
    return f"{number:08d}"


def unfinished_name(name: str) -> str:
    """Return what a folder is called until it is complete and gets its name."""
    return f".{name}.tmp"


def numbered(folder: Path) -> list[Path]:
    """Return the numbered folders in a folder, finished or not, and nothing else."""
    return [
        entry
        for entry in folder.iterdir()
        if re.fullmatch(r"\d{8}|\.\d{8}\.tmp", entry.name) and entry.is_dir()
    ]


def last_number(folder: Path) -> int:
    """Return the highest number in a folder, 0 if there is none; unfinished ones count."""
    numbers = (int(e.name.removeprefix(".").removesuffix(".tmp")) for e in numbered(folder))
    return max(numbers, default=0)
