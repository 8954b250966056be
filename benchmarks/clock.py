"""Set the wall clock forward and back during a run, and compare its data set with that of an undisturbed run.

    pip install libfaketime && python -m benchmarks.clock

The library is loaded into the driver, Ray and every worker. It changes their wall clock and not the monotonic one, as
on a machine whose time is set. A run that ends by such a jump is restarted.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.soak import fingerprint, make_sources, run
from stages.core.command import UserError, command, make_parser
from stages.core.weights import WeightStore

JUMPS = ("+2h", "-3h", "+400d", "-1d", "+0")
INTERVAL_S = 7.0
MAX_STARTS = 20


def _library() -> Path:
    found = find_spec("libfaketime")
    if found is None or found.origin is None:
        raise UserError("pip install libfaketime")
    return next(Path(found.origin).parent.rglob("libfaketime.so.1"))


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.clock", __doc__)
    parser.add_argument("--out", type=Path, default=Path("out/clock"))
    args = parser.parse_args(arguments)
    folder = args.out.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    manifest = make_sources(folder / "corpus", WeightStore.from_environment())
    if run(manifest, folder / "undisturbed", None, folder / "undisturbed.log").wait():
        raise RuntimeError(f"the undisturbed run failed; see {folder / 'undisturbed.log'}")
    clock = folder / "clock"
    clock.write_text("+0")
    faked = {"LD_PRELOAD": str(_library()), "FAKETIME_TIMESTAMP_FILE": str(clock)}
    os.environ |= faked | {"FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    num_jumps, codes = 0, list[int]()
    while not codes or codes[-1]:
        if len(codes) > MAX_STARTS:
            raise RuntimeError(f"the run never came through; see {folder / 'disturbed.log'}")
        driver = run(manifest, folder / "disturbed", None, folder / "disturbed.log")
        while driver.poll() is None:
            time.sleep(INTERVAL_S)
            clock.write_text(JUMPS[num_jumps % len(JUMPS)])
            num_jumps += 1
        codes.append(driver.returncode)
    expected, found = fingerprint(folder / "undisturbed"), fingerprint(folder / "disturbed")
    wrong = {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
    print(f"{num_jumps} jumps, exit codes {codes}: {len(found)} rows, {len(wrong)} differ {sorted(wrong)[:5]}")


if __name__ == "__main__":
    raise SystemExit(main())
