"""Audio to motion: the flow is exact, the start is a ridge regression, and blocks meet without seams."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.dubbing.sound import BLOCK_STEPS, CONTEXT_STEPS, Sound
from model.nets.a2m import A2m, A2mConfig, latent_noise
from model.nets.flow import Flow
from model.training.lip_loss import A2mLoss, LipModes, SyncLoss
from model.training.motion_start import motion_start
from stages.face3d.load import load_face_model
from stages.lipsync.lip_sound import LipSound, agreement, lip_features

SMALL = A2mConfig(components=6, width=8, dropout=0.0)
WHISPER_DIM, EXP_DIM = 12, 5


def randomized(module: torch.nn.Module, scale: float = 0.3) -> None:
    """Away from the identity that couplings and blocks start as."""
    torch.manual_seed(0)
    for values in module.parameters():
        torch.nn.init.normal_(values, std=scale)


def a_flow(num_couplings: int = 3) -> Flow:
    flow = Flow(channels=5, condition=4, width=8, kernel=3, num_couplings=num_couplings)
    randomized(flow)
    return flow


def test_flow_is_inverted():
    flow, z, condition = a_flow(), torch.randn(2, 5, 9), torch.randn(2, 4, 9)
    u, _ = flow(z, condition)
    assert not torch.allclose(u, z, atol=0.5)
    torch.testing.assert_close(flow.inverse(u, condition), z, rtol=1e-4, atol=1e-5)


def test_flow_determinant_is_exact():
    flow, condition, z = a_flow().double(), torch.randn(1, 4, 6).double(), torch.randn(1, 5, 6).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x.reshape(1, 5, 6), condition)[0].ravel(), z.ravel())
    _, expected = torch.linalg.slogdet(torch.as_tensor(jacobian))
    change = flow(z, condition)[1].sum()
    assert abs(float(expected)) > 0.1
    torch.testing.assert_close(change, expected)


def test_density_without_couplings_is_the_normal_distribution():
    z = torch.randn(2, 5, 9)
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum(dim=1)
    torch.testing.assert_close(a_flow(0).log_density(z, torch.zeros(2, 4, 9)), expected)


def test_flow_learns_a_density_that_depends_on_what_is_heard():
    """Samples of N(3 c, 0.2): the bound on their log density is met but for a little."""
    torch.manual_seed(0)
    flow = Flow(channels=2, condition=1, width=16, kernel=1, num_couplings=4)
    optimizer = torch.optim.Adam(flow.parameters(), 2e-2)
    best = -2 * (0.5 + 0.5 * math.log(2 * math.pi) + math.log(0.2))
    for _ in range(100):
        condition = torch.rand(64, 1, 4)
        loss = -flow.log_density(3 * condition + 0.2 * torch.randn(64, 2, 4), condition).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert best - 0.15 < -loss.item() < best + 0.15


def heard_and_moved(num_clips: int = 4, num_frames: int = 40) -> list[tuple[np.ndarray, np.ndarray]]:
    """Motion that is linear in the features of three frames, and a little noise."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(3, WHISPER_DIM, EXP_DIM))
    clips = []
    for _ in range(num_clips):
        whisper = random.normal(size=(2 * num_frames, WHISPER_DIM)).astype(np.float32)
        normed = torch.nn.functional.layer_norm(torch.from_numpy(whisper), (WHISPER_DIM,)).numpy()
        frames = np.pad(normed.reshape(num_frames, 2, -1).mean(axis=1), ((1, 1), (0, 0)))
        motion = sum(frames[i : i + num_frames] @ weights[i] for i in range(3))
        clips.append((whisper, (motion + 0.01 * random.normal(size=motion.shape)).astype(np.float32)))
    return clips


def test_start_is_the_ridge_regression():
    """On features of full rank, a linear truth of three frames is found, and nothing of it when held back hard."""
    clips = heard_and_moved()
    config = A2mConfig(components=WHISPER_DIM, linear_frames=1, ridge=1e-6, linear_share=1.0, width=8)
    model = A2m(config, WHISPER_DIM, EXP_DIM).eval()
    model.start_from(motion_start(lambda: clips, config))
    whisper, truth = clips[0]
    predicted = model(torch.from_numpy(whisper)[None])[0].detach().numpy()
    assert np.abs(predicted - truth)[1:-1].mean() < 0.05 * truth.std()
    model.start_from(motion_start(lambda: clips, replace(config, ridge=1e6)))
    predicted = model(torch.from_numpy(whisper)[None])[0].detach().numpy()
    mean = np.concatenate([motion for _, motion in clips]).mean(axis=0)
    assert np.allclose(predicted, mean, atol=1e-2 * truth.std())


def test_few_steps_give_fewer_components():
    config = replace(SMALL, components=10)
    model = A2m(config, WHISPER_DIM, EXP_DIM).eval()
    model.start_from(motion_start(lambda: heard_and_moved(1, 4), config))
    assert torch.isfinite(model(torch.randn(1, 8, WHISPER_DIM))).all()


def a_model(config: A2mConfig = SMALL) -> A2m:
    torch.manual_seed(0)
    model = A2m(config, WHISPER_DIM, EXP_DIM)
    model.start_from(motion_start(heard_and_moved, config))
    randomized(model, 0.2)
    return model.eval()


def test_reach_is_within_the_context_of_a_block():
    """A disturbance is heard nowhere beyond the context, and is heard well within."""
    model = a_model(A2mConfig(components=6, width=8))
    whisper = torch.randn(1, 4 * CONTEXT_STEPS + 2, WHISPER_DIM)
    other = whisper.clone()
    other[:, 2 * CONTEXT_STEPS] += 5
    with torch.no_grad():
        noise = torch.randn(1, model.config.latent, whisper.shape[1] // 2)
        changed = (model(whisper, noise) - model(other, noise))[0].abs().amax(dim=1)
    frames = changed.nonzero()[:, 0]
    reach = int(torch.stack([CONTEXT_STEPS - frames.min(), frames.max() - CONTEXT_STEPS]).max())
    assert 10 < reach < CONTEXT_STEPS // 2


class RandomEncoder:
    """Features that are a function of the sample's number, so that any block hears the same."""

    dim = WHISPER_DIM

    def encode(self, audio: np.ndarray) -> np.ndarray:
        steps = audio[::320].astype(np.int64)
        return np.stack([np.random.default_rng(step).normal(size=self.dim) for step in steps]).astype(np.float16)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_blocks_meet_without_seams(temperature: float):
    """Motion of three blocks equals that of the whole sound in one, noise of the latents and all."""
    num_steps = 2 * BLOCK_STEPS + 300
    sound = Sound(
        (np.arange(num_steps * 320) // 320).astype(np.float32),
        RandomEncoder(),
        a_model(),
        temperature=temperature,
        seed=3,
    )
    frames = [*range(0, 30), *range(480, 520), *range(980, 1020), *range(1120, 1150)]
    streamed = np.stack([sound.expression(frame / 25) for frame in frames])
    steps = np.arange(-CONTEXT_STEPS, num_steps + CONTEXT_STEPS)
    whisper = torch.from_numpy(sound.features(steps).astype(np.float32))[None]
    noise = temperature * torch.from_numpy(latent_noise(-CONTEXT_STEPS // 2, len(steps) // 2, SMALL.latent, 3))[None]
    with torch.no_grad():
        whole = a_model()(whisper, noise)[0].numpy()[CONTEXT_STEPS // 2 :]
    np.testing.assert_allclose(streamed, whole[frames], rtol=1e-4, atol=1e-4)


def test_noise_belongs_to_the_frame_and_the_seed():
    whole = latent_noise(-70, 300, 4, seed=1)
    assert np.array_equal(latent_noise(-3, 90, 4, seed=1), whole[:, 67:157])
    assert not np.array_equal(latent_noise(-3, 90, 4, seed=2), whole[:, 67:157])
    assert abs(whole.mean()) < 0.1 and abs(whole.std() - 1) < 0.1


def test_noise_is_heard_only_through_the_latents():
    model, whisper = a_model(), torch.randn(1, 60, WHISPER_DIM)
    still, lively = (model(whisper, scale * torch.randn(1, SMALL.latent, 30)) for scale in (0.0, 1.0))
    assert torch.equal(still, model(whisper)) and not torch.allclose(still, lively)
    plain = a_model(replace(SMALL, latent=0))
    assert not any(name.startswith(("prior", "posterior")) for name, _ in plain.named_parameters())
    assert torch.equal(plain(whisper), plain(whisper, None))


@pytest.mark.slow
def test_what_only_the_posterior_can_know_goes_through_the_latents():
    """Motion that no sound tells of: with the expression seen it is rebuilt, from the sound alone it cannot be."""
    config = replace(SMALL, lip_weight=0.0, sync_weight=0.0, coefficient_weight=1.0, kl_weight=0.01, feature_noise=0.0)
    torch.manual_seed(0)
    model = A2m(config, WHISPER_DIM, EXP_DIM)
    loss = A2mLoss(model, None, LipSound.load())
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    motion = torch.randn(4, 1, 10).repeat_interleave(2, dim=2).transpose(1, 2).repeat(1, 1, EXP_DIM)
    batch = {"whisper": torch.zeros(4, 40, WHISPER_DIM), "exp": motion}
    for _ in range(60):
        total, parts = loss(batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert float(parts["seen"]) < 0.4 * float(parts["position"] + parts["velocity"])
    assert float(parts["kl"]) > 0.1


def test_sync_loss_is_what_the_expert_says():
    """One minus the expert's agreement without delay, of a moving mouth and a sound; gradients reach the expression."""
    model, expert = load_face_model(), LipSound.load()
    face = LipModes.of(model)
    random = np.random.default_rng(0)
    expression = np.cumsum(random.normal(size=(80, len(face.modes))), axis=0) * 0.02
    sound = random.normal(size=(80, len(expert.sound)))
    points = face.neutral + np.einsum("te,elx->tlx", expression, face.modes)
    heard = np.zeros((320, sound.shape[1]))
    heard[2::4] = sound
    expected = 1 - agreement(lip_features(points) @ expert.lips, heard @ expert.sound)[100]
    given = torch.from_numpy(expression).float()[None].requires_grad_()
    loss = SyncLoss(face, expert)(given, torch.from_numpy(sound).float()[None])
    # The expert measures against the face's mean height, which the chin moves a little.
    assert float(loss.detach()) == pytest.approx(expected, abs=0.01)
    loss.backward()
    assert given.grad is not None and float(given.grad.abs().sum()) > 0
