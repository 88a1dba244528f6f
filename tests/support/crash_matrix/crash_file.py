"""The file by which a test tells the next process at a named point to die there, or to wait (cell/crash_points.py)."""

from pathlib import Path


class CrashFile:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._held = Path(f"{file}.held")

    @property
    def path(self) -> str:
        return str(self._file)

    def arm(self, told: str) -> None:
        """`POINT`, `POINT always` or `POINT hold`; at once, so that nobody reads half of it."""
        draft = Path(f"{self._file}.new")
        draft.write_text(told)
        draft.rename(self._file)

    @property
    def is_armed(self) -> bool:
        """Nobody has come by yet."""
        return self._file.exists()

    def told(self) -> str:
        return self._file.read_text()

    def held_pid(self) -> int | None:
        """Of the process that waits."""
        try:
            _, said = self._held.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(said) if said.isdigit() else None

    def release(self) -> None:
        self._held.unlink(missing_ok=True)

    def clear(self) -> None:
        self._file.unlink(missing_ok=True)
        self.release()
