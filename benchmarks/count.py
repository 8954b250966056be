"""Operations and peak memory of a training step of the editor, counted without a GPU.

    python -m benchmarks.count --config joygen [--memory-gib 80] [key=value ...]

The step runs on fake tensors, which have shapes and no numbers: forwards, backwards, update and moving average, as
`model.train` does them in bf16. A library's workspace and the allocator's waste come on top; `benchmarks.gpu` measures
them.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.steps.counting import needs_of
from model.training.config import load_train
from stages.core.command import UserError, command, make_parser


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.count", __doc__)
    parser.add_argument("--config", required=True, action="append", help="a preset (tiny), or a YAML file")
    parser.add_argument("--memory-gib", type=float, default=80.0, help="of the card")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, e.g. loss.pixel_every=4")
    given = parser.parse_args(arguments)
    config = load_train(given.config, given.overrides)
    if config.task != "editor":
        raise UserError(f"only the editor is counted, this trains {config.task}")
    needs = needs_of(config)
    print(f"{needs.flop / 1e12:.3f} TFLOP a sample")
    print(f"{needs.resting_bytes / 2**30:.2f} GiB between steps, {needs.fixed_bytes / 2**30:.2f} in a step", end="")
    print(f" and {needs.sample_bytes / 2**30:.3f} for each sample")
    print(f"{needs.samples_in(given.memory_gib)} samples at once fit {given.memory_gib:g} GiB", end="")
    asked = config.optim.micro_batch or config.optim.batch_size
    print(f"; this takes {asked} of {config.optim.batch_size}")


if __name__ == "__main__":
    raise SystemExit(main())
