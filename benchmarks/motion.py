"""Audio to motion on people it never saw: lip vertex error, velocity error and sync, against what is simpler.

    python -m benchmarks.motion --data OUT/shards [--folds 4] [--steps 200] [--json FILE]

All splits of the shards are taken together and people are left out by turns. Every method sees the same clips and the
same features. Lip errors are those of the face model's 80 lip points at the clip's own identity in neutral pose, in mm,
means over frames of the mean and of the farthest point (the latter is FaceFormer's and CodeTalker's lip vertex error);
`moved`: the same mean with each clip's mean face taken out, since nobody can hear how a mouth looks at rest. Sync is
the embedded lip-sound expert's on those lips; the networks' loss has one that was fitted without the people left out.
The ridge regression's strength is found by leaving out training people in turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from model.lip_expert.fit import Features, SyncTrainConfig, Take, train
from model.nets.a2m import A2m, A2mConfig
from model.shards.clips import SOUND_COLUMNS
from model.shards.clips import Clip as Stored
from model.train import Average, learning_rate
from model.training.config import OptimConfig, load_train
from model.training.lip_loss import A2mLoss, LipModes
from model.training.motion_start import moments, motion_start, solve
from stages.audio.pcm16 import from_pcm16
from stages.core.command import command, make_parser
from stages.face.crop import to_source
from stages.face.landmarks import LIPS
from stages.face3d.load import load_face_model
from stages.face3d.model import FaceModel
from stages.lipsync.curves import best_delay
from stages.lipsync.lip_sound import MAX_STEPS, MEL_STEPS_PER_FRAME, RATE_HZ, LipSound, lip_features
from stages.sync import SyncConfig

COLUMNS = (
    *("row_id", "source_id", "identity_id", "geometry_model", "exp_coeff", "id_coeff", "audio_pcm16"),
    *("landmarks", "crop_box_xyxy_px", *SOUND_COLUMNS),
)
RIDGES = (0.3, 1.0, 3.0, 10.0)
WINDOW_FRAMES = 50
Predict = Callable[["Clip"], np.ndarray]


@dataclass(frozen=True)
class Clip:
    """One clip: features (2 T, D), expression (T, E), identity (K,), and what the expert sees and hears of it."""

    row_id: str
    person: str
    whisper: np.ndarray
    expression: np.ndarray
    identity: np.ndarray
    features: Features

    @property
    def seconds(self) -> float:
        return len(self.features.sound) / RATE_HZ


def read_clips(folder: Path) -> tuple[list[Clip], str]:
    """Every clip of a folder of shards that has a window's length, and the name of their face model."""
    clips, names = [], set()
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(1, columns=list(COLUMNS)):
            row = pa.Table.from_batches([batch])
            clips.append(_clip(row))
            names.add(row["geometry_model"][0].as_py())
    (name,) = names
    return [clip for clip in clips if len(clip.expression) >= WINDOW_FRAMES], name


def _clip(row: pa.Table) -> Clip:
    stored = Stored(row, load_face_model)
    audio = from_pcm16(stored.array("audio_pcm16"))
    expression, boxes = stored.exp_coeff.astype(np.float32), stored.matrix("crop_box_xyxy_px")
    take = Take(row["source_id"][0].as_py(), 0, to_source(stored.landmarks.astype(np.float32), boxes), audio)
    row_id, person = (row[name][0].as_py() for name in ("row_id", "identity_id"))
    whisper = stored.whisper(np.arange(2 * len(expression)))
    return Clip(row_id, person, whisper, expression, stored.array("id_coeff"), Features.of(take))


def folds_of(clips: list[Clip], number: int) -> list[set[str]]:
    """People in groups of about the same length."""
    frames: dict[str, int] = {}
    for clip in clips:
        frames[clip.person] = frames.get(clip.person, 0) + len(clip.expression)
    groups: list[set[str]] = [set() for _ in range(number)]
    for person in sorted(frames, key=lambda p: -frames[p]):
        min(groups, key=lambda g: sum(frames[p] for p in g)).add(person)
    return groups


class Judge:
    """Scores of predicted coefficients, by the face model's lips and the embedded expert."""

    def __init__(self, model: FaceModel) -> None:
        self._mean, self._identity = model.at_landmarks(model.mean), model.at_landmarks(model.identity)
        self._modes, self._expert = model.at_landmarks(model.expression), LipSound.load()
        self._delays_ms = np.arange(-MAX_STEPS, MAX_STEPS + 1) * (1000 / RATE_HZ)

    def __call__(self, clip: Clip, predicted: np.ndarray) -> dict[str, float]:
        error = np.einsum("te,elx->tlx", predicted - clip.expression, self._modes[:, list(LIPS)])
        far = np.linalg.norm(error, axis=2)
        neutral = self._mean + np.tensordot(clip.identity, self._identity, 1)
        points = neutral + np.einsum("te,elx->tlx", predicted, self._modes)
        curve = self._expert.compare(lip_features(points), clip.features.sound)
        best = best_delay(curve, self._delays_ms, SyncConfig.max_offset_ms)
        return {
            "mean_mm": far.mean(),
            "farthest_mm": far.max(axis=1).mean(),
            "moved_mm": np.linalg.norm(error - error.mean(axis=0), axis=2).mean(),
            "speed_mm_s": np.linalg.norm(np.diff(error, axis=0), axis=2).mean() * 25,
            "sync_conf": self._expert.confidence(curve, best, clip.seconds),
            "conf_at_0": self._expert.confidence(curve, MAX_STEPS, clip.seconds),
            "offset_ms": abs(float(self._delays_ms[best])),
        }


def windows(clips: list[Clip], number: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Batches without end, clips drawn by their length."""
    random = np.random.default_rng(seed)
    weight = np.array([len(clip.expression) for clip in clips], float)
    while True:
        batch: dict[str, list[np.ndarray]] = {"whisper": [], "exp": [], "sound": []}
        for idx in random.choice(len(clips), number, p=weight / weight.sum()):
            clip = clips[idx]
            start = int(random.integers(len(clip.expression) - WINDOW_FRAMES + 1))
            frames = np.arange(start, start + WINDOW_FRAMES)
            middle = frames * MEL_STEPS_PER_FRAME + MEL_STEPS_PER_FRAME // 2
            batch["whisper"].append(clip.whisper[2 * start : 2 * (start + WINDOW_FRAMES)])
            batch["exp"].append(clip.expression[frames])
            batch["sound"].append(clip.features.sound[np.minimum(middle, len(clip.features.sound) - 1)])
        yield {name: torch.from_numpy(np.stack(values).astype(np.float32)) for name, values in batch.items()}


def fit(clips: list[Clip], fresh: A2m, loss: A2mLoss, optim: OptimConfig, seed: int) -> A2m:
    """Train as `model.train` does: the same optimizer, schedule and average."""
    torch.manual_seed(seed)
    names, values = zip(*fresh.named_parameters(), strict=True)
    optimizer = torch.optim.AdamW(
        values, optim.lr, betas=(optim.beta1, optim.beta2), eps=optim.eps, weight_decay=optim.weight_decay
    )
    average = Average(list(names), list(values), optim.ema_decay)
    loss.train()
    for step, batch in zip(range(optim.max_steps), windows(clips, optim.batch_size, seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(optim, step / optim.max_steps, step)
        optimizer.zero_grad()
        loss(batch)[0].backward()
        torch.nn.utils.clip_grad_norm_(values, optim.clip_norm)
        optimizer.step()
        average.update(step)
    average.settle()
    return fresh.eval()


def ridge_strength(clips: list[Clip], model: A2m) -> float:
    """The strength that does best on training people left out one by one, in squared millimetres of the lips."""
    reach, parts = model.config.linear_frames, {}
    mean = model.mean.numpy()  # pyright: ignore[reportCallIssue]
    for clip in clips:
        seen = model.components(torch.from_numpy(clip.whisper)[None])[0].T.numpy()
        left, right = moments(seen, clip.expression - mean, reach)
        before = parts.get(clip.person, (0, 0, 0, 0))
        power = np.square(clip.expression - mean).sum()
        parts[clip.person] = tuple(
            a + b for a, b in zip(before, (left, right, power, len(clip.expression)), strict=True)
        )
    total = [sum(p[i] for p in parts.values()) for i in range(4)]
    errors = []
    for ridge in RIDGES:
        error = 0.0
        for left, right, power, number in parts.values():
            weights = solve(total[0] - left, total[1] - right, ridge * (total[3] - number))
            error += power - 2 * (weights * right).sum() + (weights * (left @ weights)).sum()
        errors.append(error)
    return RIDGES[int(np.argmin(errors))]


def methods(clips: list[Clip], face: FaceModel, optim: OptimConfig, config: A2mConfig) -> Iterator[tuple[str, Predict]]:
    """Every method, fitted on these clips, by name."""
    numbers = {person: number for number, person in enumerate(sorted({clip.person for clip in clips}))}
    expert = train([replace(clip.features, person=numbers[clip.person]) for clip in clips], SyncTrainConfig())
    lips, (whisper_dim, exp_dim) = LipModes.of(face), (clips[0].whisper.shape[1], clips[0].expression.shape[1])

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return ((clip.whisper, clip.expression) for clip in clips)

    torch.manual_seed(0)
    start = motion_start(pairs, config)

    def built(changed: A2mConfig) -> A2m:
        torch.manual_seed(1)
        model = A2m(changed, whisper_dim, exp_dim)
        model.start_from(start)
        return model

    def predictor(model: A2m, share: float) -> Predict:
        def predict(clip: Clip) -> np.ndarray:
            model.config = replace(model.config, linear_share=share)
            with torch.no_grad():
                return model(torch.from_numpy(clip.whisper)[None])[0].numpy()

        return predict

    yield "mean expression", lambda clip: np.tile(start.mean.numpy(), (len(clip.expression), 1))
    bare = built(config).eval()
    strength = ridge_strength(clips, bare)
    again = motion_start(pairs, replace(config, ridge=strength))
    chosen = built(config).eval()
    chosen.start_from(again)
    yield "ridge regression", predictor(chosen, 1.0)
    plain = replace(config, latent=0, lip_weight=0.0, sync_weight=0.0, coefficient_weight=1.0)
    conv = built(plain)
    yield "plain convolution", predictor(fit(clips, conv, A2mLoss(conv, lips, expert), optim, 2), 0.0)
    conv = built(replace(config, latent=0))
    fit(clips, conv, A2mLoss(conv, lips, expert), optim, 2)
    yield "convolution, our losses", predictor(conv, 0.0)
    yield "... and regression", predictor(conv, config.linear_share)
    vae = built(config)
    fit(clips, vae, A2mLoss(vae, lips, expert), optim, 2)
    yield "flow VAE alone", predictor(vae, 0.0)
    yield "flow VAE (a2m.yaml)", predictor(vae, config.linear_share)
    yield "truth", lambda clip: clip.expression


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.motion", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="shards folder of a pipeline run")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--steps", type=int, help="of training; those of a2m.yaml")
    parser.add_argument("--json", type=Path, help="write every clip's numbers")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    preset = load_train(["a2m"])
    optim = replace(preset.optim, max_steps=given.steps or preset.optim.max_steps)
    with threadpool_limits(1):
        clips, name = read_clips(given.data)
        face = load_face_model(name)
        judge, scores = Judge(face), {}
        groups = folds_of(clips, given.folds)
        for fold, people in enumerate(groups):
            inside = [clip for clip in clips if clip.person not in people]
            outside = [clip for clip in clips if clip.person in people]
            for method, predict in methods(inside, face, optim, preset.a2m):
                rows = [{"row_id": c.row_id, "fold": fold, **judge(c, predict(c))} for c in outside]
                scores.setdefault(method, []).extend(rows)
            print(f"fold {fold + 1}: {len(inside)} clips, {len(outside)} left out of {len(people)} people", flush=True)
    print(f"{len(clips)} clips of {len({c.person for c in clips})} people; mean over clips (deviation of the folds)")
    for method, rows in scores.items():
        cells = []
        for key in list(rows[0])[2:]:
            by_fold = [np.mean([r[key] for r in rows if r["fold"] == fold]) for fold in range(len(groups))]
            cells.append(f"{key} {np.mean([r[key] for r in rows]):.2f} ({np.std(by_fold):.2f})")
        print(f"{method:24} " + "  ".join(cells))
    if given.json:
        given.json.write_text(json.dumps(scores, indent=1, default=float))


if __name__ == "__main__":
    raise SystemExit(main())
