"""Run JoyGen's own audio to motion with its weights: HuBERT features to Basel Face Model expressions.

    python -m model.published_a2m --weights model_ckpt_steps_400000.ckpt --hubert FOLDER --audio A --out exp.npy

The network is Real3DPortrait's `PitchContourVAEModel`, parameter for parameter under its published names: a variational
auto-encoder at a quarter of the frame rate, with shifting couplings as prior, conditioned on HuBERT features, pitch,
and how wide mouth and eyes open. Only the parts for inference are computed. Source: arXiv:2401.08503; layout: JoyGen,
`audio2motion/modules/vae.py`. It needs HuBERT large (`hubert-large-ls960-ft`), 1024 numbers every 20 ms, which the
shards do not hold: the user supplies its folder, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.nets.published_a2m import express, hear_hubert, load_published
from stages.core.command import command, make_parser
from stages.core.storage import local_path


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m model.published_a2m", __doc__)
    parser.add_argument("--weights", type=local_path, required=True, help="audio2secc_vae/model_ckpt_steps_*.ckpt")
    parser.add_argument("--hubert", type=local_path, required=True, help="folder of hubert-large-ls960-ft")
    parser.add_argument("--audio", type=local_path, required=True, help="any file with sound")
    parser.add_argument("--out", type=local_path, required=True, help="the .npy to write: (frames, 64) at 25 fps")
    parser.add_argument("--temperature", type=float, default=0.2, help="deviation of the latents' noise")
    given = parser.parse_args(arguments)
    from stages.media import decode_audio

    network = load_published(given.weights)
    audio = decode_audio(given.audio)
    np.save(given.out, express(network, audio, hear_hubert(audio, given.hubert), given.temperature))


if __name__ == "__main__":
    raise SystemExit(main())
