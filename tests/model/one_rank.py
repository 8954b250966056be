"""One of several processes that train together, started by torchrun; leaves its weights where the others' are.

Its clock runs the faster the higher its rank, so that a time limit which each kept by itself would part them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import save_file

from model.train import Trainer
from model.training.config import TrainConfig
from model.training.load import build_task
from stages.core.settings import load_as
from stages.core.weights import WeightStore


def main(folder: Path, preset: str, settings: list[str]) -> None:
    torch.set_num_threads(1)
    config = load_as(TrainConfig, [Path(preset)], settings)
    accelerator = Accelerator(cpu=True)
    rank, clock = accelerator.process_index, time.monotonic
    time.monotonic = lambda: (1 + 3 * rank) * clock()
    set_seed(config.seed + rank)  # the first rank's beginning counts
    trainer = Trainer(config, build_task(config, WeightStore(folder, fetch=False)), accelerator)
    trainer.run_all()
    weights = {name: value.contiguous() for name, value in trainer.task.module.state_dict().items()}
    save_file(weights, folder / f"rank-{rank}.safetensors")
    (folder / f"rank-{rank}.json").write_text(json.dumps(vars(trainer.state)))
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
