"""How every command ends: one line that says what is wrong, and an exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.command import FAILED, INTERRUPTED, MISUSED, Stopped, UserError, command, run_named
from stages.core.reasons import Dropped, DropReason
from stages.core.storage import StorageError, UnknownStorage, as_path

ROOT = Path(__file__).parents[3]
HOUSES = ("benchmarks", "manifests", "model", "pipeline", "stages")
AGAIN = "Run it again."


NOT_FOUND = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "v.mp4")
FULL, OVER_QUOTA = OSError(errno.ENOSPC, "No space left", "x"), OSError(errno.EDQUOT, "Quota exceeded")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("no threshold policy.x"), MISUSED, "error: no threshold policy.x\n"),
        (Dropped(DropReason.NO_AUDIO, "v.mp4 has no sound"), MISUSED, "error: no_audio: v.mp4 has no sound\n"),
        (NOT_FOUND, MISUSED, "error: no such file: v.mp4\nRun it again.\n"),
        (StorageError("s3://a/b cannot be written"), FAILED, "error: s3://a/b cannot be written\nRun it again.\n"),
        (FULL, FAILED, "error: the disk is full; free some space for x\nRun it again.\n"),
        (OVER_QUOTA, FAILED, "error: the disk is full; free some space for the output\nRun it again.\n"),
        (MemoryError(), FAILED, "error: out of memory\nRun it again.\n"),
        (Stopped("10 of 20 sources failed"), FAILED, "error: 10 of 20 sources failed\nRun it again.\n"),
        (KeyboardInterrupt(), INTERRUPTED, "\nStopped. Run it again.\n"),
    ],
)
def test_every_kind_of_error_has_its_code_and_one_line(error, code, message, capsys):
    @command(again=AGAIN)
    def main() -> None:
        raise error

    assert main() == code
    assert capsys.readouterr().err == message


def test_a_bug_stays_a_bug():
    @command()
    def main() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        main()


def test_a_main_without_a_word_ends_with_0_and_another_with_its_own_code():
    assert (command()(lambda: None)(), command()(lambda: 1)()) == (0, 1)


def test_an_address_of_no_store_is_for_a_person_also_outside_argparse():
    with pytest.raises(UnknownStorage) as caught:
        as_path("nothing://x/y")
    assert isinstance(caught.value, UserError)


def test_commands_need_nothing_heavy():
    heavy = "{'torch', 'ray', 'av', 'rich', 'numpy', 'pyarrow'} & set(sys.modules)"
    code = f"import sys; import stages.core.command; assert not {heavy}, {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", ["pipeline", "model"])
def test_a_package_lists_every_command_with_a_line(package, capsys):
    run_named(package, [])
    lines = capsys.readouterr().out.splitlines()[2:]
    files = {path.stem for path in (ROOT / package).glob("*.py") if path.stem not in ("__main__", "__init__")}
    assert {line.split()[0] for line in lines} == files
    assert all(len(line.split()) > 3 and len(line) <= 120 for line in lines)


def test_a_command_runs_by_its_name_and_a_wrong_name_has_a_way_out(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", [])
    with pytest.raises(SystemExit) as ended:
        run_named("pipeline", ["report", "--out", str(tmp_path)])
    assert ended.value.code == MISUSED and "ledger.parquet is missing" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no command 'finalise' in pipeline; there is finalize"):
        run_named("pipeline", ["finalise"])


def test_every_main_ends_in_the_one_way():
    # one answers a worker from a process of its own, one runs before any package is there
    apart = {"stages/media/first_look.py", "pipeline/setup/repair_torch.py"}
    files = [path for house in HOUSES for path in (ROOT / house).rglob("*.py") if "\ndef main(" in path.read_text()]
    assert len(files) > 40
    for file in files:
        decorated = "@command(" in file.read_text()
        assert decorated != (file.relative_to(ROOT).as_posix() in apart), file
