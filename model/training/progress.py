"""Progress of a long command: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

PLAIN_EVERY_S = 10.0


class Progress:
    """Shows the progress of a command; silent unless `active`."""

    def __init__(self, active: bool) -> None:
        self._active, self._console = active, Console(highlight=False)
        self._bar: RichProgress | None = None
        self._tasks: dict[str, int] = {}
        self._said_at = 0.0

    def __enter__(self) -> Progress:
        if self._active and self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"))
            self._bar = RichProgress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._console)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        if self._active:
            self._console.print(text, markup=False)

    def show(self, name: str, step: int, share: float, metrics: dict[str, float]) -> None:
        """Show that `share` of the part `name` is done."""
        detail = f"step {step}  " + "  ".join(f"{k} {v:.4g}" for k, v in metrics.items())
        if self._bar is not None:
            if name not in self._tasks:
                self._tasks[name] = self._bar.add_task(name, total=1.0, detail="")
            self._bar.update(self._tasks[name], completed=min(share, 1.0), detail=detail)  # pyright: ignore[reportArgumentType]
        elif self._active and time.monotonic() - self._said_at > PLAIN_EVERY_S:
            self._said_at = time.monotonic()
            self.say(f"{name} {min(share, 1.0):4.0%}  {detail}")
