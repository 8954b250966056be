"""The fit's solver: a robust sum of landmark errors plus Gaussian priors, by Gauss-Newton.

Identity and expression stay near the mean; expression and pose change smoothly (second differences over time, so there
is no lag). First a few spread frames and their common identity are solved together, each frame with its own curvature.
Then the identity is fixed, and all frames are solved at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import dct, idct

from stages.face3d.camera import rotation_matrices
from stages.fit.kernels import landmark_bend, landmark_pull, landmark_slopes
from stages.fit.motion import pose_accel_sigma

if TYPE_CHECKING:
    from stages.face3d.model import ExpressionPrior
    from stages.fit.config import GeometryConfig
    from stages.fit.points import FitPoints

Step = tuple[np.ndarray, np.ndarray]
"""Change of the identity (K,) and of the frames (T, E + 6)."""


@dataclass(frozen=True)
class ClipProblem:
    """The problem of one clip: L points, K identity and E expression modes, T frames; model axes as the camera's.

    Args:
        mean: (3, L); identity: (K, 3L); expression: (E, 3L): float32, mm, all x before all y before all z.
        target: (T, 2, L) float32 px. focal_px: (T, 2) float32. weight: (T, L) float32.
        carried: (T, 6), the share of the pose that the moving crop makes; the rest is smooth.
        prior: (E + 6,), weight of the square of each of a frame's numbers.
        smooth: (E + 6,), weight of the square of its second difference.
        identity_prior: weight of the square of each of the identity's numbers.
    """

    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    target: np.ndarray
    focal_px: np.ndarray
    weight: np.ndarray
    carried: np.ndarray
    prior: np.ndarray
    smooth: np.ndarray
    identity_prior: float
    basis: np.ndarray
    expression_prior: ExpressionPrior
    config: GeometryConfig

    @staticmethod
    def of(
        points: FitPoints,
        target: np.ndarray,
        focal_px: np.ndarray,
        weight: np.ndarray,
        pose: np.ndarray,
        carried: np.ndarray,
        config: GeometryConfig,
    ) -> ClipProblem:
        # Curvatures are in units of one landmark's 1/px^2, so priors are multiplied by the landmarks' variance.
        variance = config.landmark_sigma_px**2
        num_expression, may_be = len(points.expression), points.expression_prior
        accel = np.concatenate([np.full(num_expression, may_be.accel_sigma), pose_accel_sigma(pose - carried, config)])
        prior = np.zeros(num_expression + 6)
        prior[:num_expression] = variance / may_be.sigma**2
        return ClipProblem(
            basis=np.ascontiguousarray(np.concatenate([points.identity, points.expression]).transpose(1, 0, 2)),
            mean=points.mean,
            identity=points.identity.reshape(len(points.identity), -1),
            expression=points.expression.reshape(num_expression, -1),
            target=np.ascontiguousarray(target, np.float32),
            focal_px=focal_px.astype(np.float32),
            weight=weight.astype(np.float32),
            carried=carried,
            prior=prior,
            smooth=variance / accel**2,
            identity_prior=variance * len(target) / config.identity_frames,
            expression_prior=may_be,
            config=config,
        )

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value of each of a frame's numbers."""
        high = np.full(len(self.prior), np.inf)
        low = -high
        low[: len(self.expression)] = self.expression_prior.low
        high[: len(self.expression)] = self.expression_prior.high
        return low, high

    def free(self, at: Estimate) -> np.ndarray:
        """Numbers that may move, (T, E + 6) bool: all but those at a bound that would leave their range."""
        low, high = self.bounds()
        held = ((at.frames <= low) & (at.frames_gradient > 0)) | ((at.frames >= high) & (at.frames_gradient < 0))
        return ~held

    def at(self, chosen: np.ndarray) -> ClipProblem:
        """The problem of a few frames, too far apart to be smooth."""
        return replace(
            self,
            target=self.target[chosen],
            focal_px=self.focal_px[chosen],
            weight=self.weight[chosen],
            carried=self.carried[chosen],
            smooth=np.zeros_like(self.smooth),
            identity_prior=self.identity_prior * len(chosen) / len(self.target),
        )


@dataclass(frozen=True)
class Estimate:
    """A point of the search: identity (K,), expression and pose (T, E + 6), with objective and gradients."""

    identity: np.ndarray
    frames: np.ndarray
    objective: float
    identity_gradient: np.ndarray
    frames_gradient: np.ndarray
    error_px: np.ndarray
    turn: np.ndarray
    turned: np.ndarray


@dataclass(frozen=True)
class Solution:
    """Identity (K,), expression and pose of each frame (T, E + 6), and the expected error of the lips' depth in mm."""

    identity: np.ndarray
    frames: np.ndarray
    lip_sigma_mm: float


def solve(problem: ClipProblem, pose: np.ndarray, is_lip: np.ndarray) -> Solution:
    """Minimise from a first pose (T, 6), mean identity and no expression; `is_lip`: (L,) bool."""
    config, num_frames, num_expression = problem.config, len(pose), len(problem.expression)
    frames = np.concatenate([np.zeros((num_frames, num_expression)), pose], axis=1)
    few = spread(known_frames(problem.weight), config.num_identity_frames)
    part = problem.at(few)
    start = evaluate(part, np.zeros(len(problem.identity)), frames[few])
    fitted = _descend(part, start, lambda at: IdentityCurvature(part, at).step(at))
    lip_sigma_mm = IdentityCurvature(part, fitted).relative_depth_sigma_mm(part, fitted, is_lip)
    # Between the fitted frames the change by the fit is interpolated linearly in time.
    change = fitted.frames - frames[few]
    frames = frames + np.stack([np.interp(np.arange(num_frames), few, column) for column in change.T], axis=1)
    start = evaluate(problem, fitted.identity, frames)
    guide = FramesGuide(problem, start)
    fit = _descend(problem, start, lambda at: FramesCurvature(problem, at).step(guide))
    return Solution(fit.identity, fit.frames, lip_sigma_mm)


def known_frames(weight: np.ndarray) -> np.ndarray:
    """Indices of the frames whose landmark weights (T, L) sum to at least half of those of the best frame."""
    of_frame = weight.sum(axis=1)
    return np.flatnonzero(of_frame >= of_frame.max() / 2)


def spread(among: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of some indices, evenly from the first to the last."""
    return among[np.unique(np.linspace(0, len(among) - 1, count).round().astype(int))]


def _descend(problem: ClipProblem, here: Estimate, step_at: Callable[[Estimate], Step]) -> Estimate:
    """Newton's method with a line search that halves the step until the objective falls."""
    config, length = problem.config, 1.0
    for _ in range(config.max_steps):
        identity_step, frames_step = step_at(here)
        there = here
        while length >= config.min_step_length:
            moved = np.clip(here.frames - length * frames_step, *problem.bounds())
            there = evaluate(problem, here.identity - length * identity_step, moved)
            if there.objective < here.objective:
                break
            length /= 2
        gain = 1 - there.objective / here.objective
        if gain <= 0:
            break
        here, length = there, min(1.0, 2 * length)
        if gain < config.tolerance:
            break
    return here


def evaluate(problem: ClipProblem, identity: np.ndarray, frames: np.ndarray) -> Estimate:
    """Objective and exact gradient."""
    num_expression = len(problem.expression)
    expression, pose = frames[:, :num_expression], frames[:, num_expression:]
    neutral = problem.mean.reshape(-1) + identity.astype(np.float32) @ problem.identity
    shape = expression.astype(np.float32) @ problem.expression
    shape += neutral
    num_frames, _, num_points = problem.target.shape
    turn = rotation_matrices(pose[:, :3]).astype(np.float32)
    pull, turned = np.empty((2, num_frames, 3, num_points), np.float32)
    twist = np.empty((num_frames, 6))
    error_px = np.empty((num_frames, num_points), np.float32)
    cost = landmark_pull(
        shape.reshape(num_frames, 3, num_points),
        turn,
        pose[:, 3:].astype(np.float32),
        problem.focal_px,
        problem.target,
        problem.weight,
        np.float32(problem.config.robust_px),
        pull,
        turned,
        twist,
        error_px,
    )
    pull = pull.reshape(num_frames, -1)
    own = frames.copy()
    own[:, num_expression:] -= problem.carried
    roughness = _second_difference(own)
    smooth_gradient = _second_difference(roughness) * problem.smooth
    gradient = frames * problem.prior + smooth_gradient
    gradient[:, :num_expression] += pull @ problem.expression.T
    gradient[:, num_expression : num_expression + 3] += np.einsum(
        "tij,ti->tj", left_jacobian(pose[:, :3]), twist[:, :3]
    )
    gradient[:, num_expression + 3 :] += twist[:, 3:]
    priors = (frames**2 * problem.prior).sum() + problem.identity_prior * (identity**2).sum()
    return Estimate(
        identity=identity,
        frames=frames,
        objective=float(cost + 0.5 * (priors + (roughness**2 * problem.smooth).sum())),
        identity_gradient=problem.identity @ pull.sum(0, dtype=np.float64) + problem.identity_prior * identity,
        frames_gradient=gradient,
        error_px=error_px,
        turn=turn,
        turned=turned,
    )


class IdentityCurvature:
    """Gauss-Newton's curvature of a few frames and their identity, computed for each frame."""

    def __init__(self, problem: ClipProblem, at: Estimate) -> None:
        num_identity = len(at.identity)
        data = np.stack([_frame_curvature(problem, at, t) for t in range(len(at.frames))])
        self.coupling = data[:, :num_identity, num_identity:]
        # A number at a bound has no effect.
        self.free = problem.free(at)
        both = self.free[:, :, None] & self.free[:, None]
        own = (
            np.where(both, data[:, num_identity:, num_identity:], 0)
            + np.eye(len(problem.prior)) * np.where(self.free, problem.prior, 1)[:, None]
        )
        self.own_inverse = np.linalg.inv(own) * both
        # Information of the frames on the identity after eliminating their own numbers (Schur complement).
        info = data[:, :num_identity, :num_identity] - self.coupling @ self.own_inverse @ self.coupling.transpose(
            0, 2, 1
        )
        self.identity_inverse = np.linalg.inv(info.sum(0) + problem.identity_prior * np.eye(num_identity))

    def step(self, at: Estimate) -> Step:
        gradient = at.frames_gradient * self.free
        explained = np.einsum("tij,tj->ti", self.own_inverse, gradient)
        identity = self.identity_inverse @ (at.identity_gradient - np.einsum("tij,tj->i", self.coupling, explained))
        rest = gradient - np.einsum("tij,i->tj", self.coupling, identity)
        return identity, np.einsum("tij,tj->ti", self.own_inverse, rest) * self.free

    def relative_depth_sigma_mm(self, problem: ClipProblem, at: Estimate, chosen: np.ndarray) -> float:
        """Expected error of the depth of some points, (L,) bool, relative to the mean of the others.

        It is the square root of the posterior variance (Laplace's approximation), over points and frames. It includes
        the uncertainty that landmarks, views and priors leave, but not the error of the model.
        """
        config, num_identity = problem.config, len(at.identity)
        # The identity's prior was weighted as if the clip had `identity_frames`; its covariance is set back to that.
        identity = self.identity_inverse * len(at.frames) / config.identity_frames
        total = 0.0
        for t, (own, coupling) in enumerate(zip(self.own_inverse, self.coupling, strict=True)):
            by_shape = np.einsum("i,ikl->kl", at.turn[t, 2], problem.basis)
            x, y = at.turned[t, :2]
            turned = left_jacobian(at.frames[t : t + 1, -6:-3])[0].T @ np.stack([y, -x, np.zeros_like(x)])
            depth = np.concatenate([by_shape, turned, np.zeros_like(turned)])
            depth = depth[:, chosen] - depth[:, ~chosen].mean(1, keepdims=True)
            explained = depth[:num_identity] - coupling @ own @ depth[num_identity:]
            total += (depth[num_identity:] * (own @ depth[num_identity:])).sum(0).mean()
            total += (explained * (identity @ explained)).sum(0).mean()
        return float(config.landmark_sigma_px * np.sqrt(total / len(at.frames)))


class FramesGuide:
    """A cheap approximate inverse of `FramesCurvature`.

    The curvature of a few spread frames, averaged, stands for every frame. The cosine transform over time makes the
    smoothing diagonal, so a frame's numbers separate into independent modes and no frame needs its own matrix.
    """

    def __init__(self, problem: ClipProblem, at: Estimate) -> None:
        num_frames = len(at.frames)
        some = spread(known_frames(problem.weight), problem.config.num_guide_frames)
        mean = np.mean([_frame_curvature(problem, at, t, skip=len(at.identity)) for t in some], axis=0)
        # (mean + f * smooth)^-1 = modes diag(1 / (values + f)) modes^T, for every frequency's f at once.
        whiten = 1 / np.sqrt(problem.smooth)
        values, vectors = np.linalg.eigh((mean + np.diag(problem.prior)) * np.outer(whiten, whiten))
        self.modes = whiten[:, None] * vectors
        frequency = np.pi * np.arange(num_frames) / num_frames
        self.inverse = 1 / (values + (2 - 2 * np.cos(frequency))[:, None] ** 2)

    def __call__(self, gradient: np.ndarray) -> np.ndarray:
        spectrum = np.asarray(dct(gradient @ self.modes, axis=0, norm="ortho"))
        return np.asarray(idct(spectrum * self.inverse, axis=0, norm="ortho")) @ self.modes.T


class FramesCurvature:
    """Gauss-Newton's curvature of all frames and their smoothing, with a fixed identity.

    The matrix is never formed: conjugate gradients need only its product with a vector.
    """

    def __init__(self, problem: ClipProblem, at: Estimate) -> None:
        self.problem, self.at, self.free = problem, at, problem.free(at)
        self.jacobian = left_jacobian(at.frames[:, -6:-3])

    def step(self, guide: FramesGuide) -> Step:
        """Preconditioned conjugate gradients (Nocedal, Wright 2006, 5.3) among the free numbers."""
        config = self.problem.config
        rest = self.at.frames_gradient * self.free
        step, direction = np.zeros_like(rest), np.zeros_like(rest)
        fall, enough = np.inf, 0.0
        for k in range(config.max_conjugate_steps):
            guided = guide(rest) * self.free
            last_fall, fall = fall, float((rest * guided).sum())
            if k == 0:
                enough = config.conjugate_tolerance * fall
            if fall <= enough:
                break
            direction = guided + fall / last_fall * direction
            bent = self.times(direction) * self.free
            length = fall / (direction * bent).sum()
            step += length * direction
            rest = rest - length * bent
        return np.zeros_like(self.at.identity), step

    def times(self, direction: np.ndarray) -> np.ndarray:
        """The curvature's product with (T, E + 6)."""
        problem, at, num_expression = self.problem, self.at, len(self.problem.expression)
        moved = direction[:, :num_expression].astype(np.float32) @ problem.expression
        motion = direction[:, num_expression:].copy()
        motion[:, :3] = np.einsum("tij,tj->ti", self.jacobian, motion[:, :3])
        pull, twist = np.empty_like(at.turned), np.empty((len(direction), 6))
        landmark_bend(
            moved.reshape(at.turned.shape),
            motion.astype(np.float32),
            at.turn,
            at.turned,
            at.frames[:, -3:].astype(np.float32),
            problem.focal_px,
            problem.weight,
            at.error_px,
            np.float32(problem.config.robust_px),
            pull,
            twist,
        )
        product = direction * problem.prior + _second_difference(_second_difference(direction)) * problem.smooth
        product[:, :num_expression] += pull.reshape(len(pull), -1) @ problem.expression.T
        product[:, -6:-3] += np.einsum("tij,ti->tj", self.jacobian, twist[:, :3])
        product[:, -3:] += twist[:, 3:]
        return product


def _frame_curvature(problem: ClipProblem, at: Estimate, t: int, skip: int = 0) -> np.ndarray:
    """Gauss-Newton curvature (K + E + 6, K + E + 6) of a frame's landmark errors, without the first `skip` numbers."""
    basis = problem.basis[:, skip:]
    slopes = np.empty((basis.shape[1] + 6, 2, basis.shape[2]), np.float32)
    landmark_slopes(
        basis,
        at.turn[t],
        at.turned[t],
        at.frames[t, -3:].astype(np.float32),
        problem.focal_px[t],
        problem.weight[t],
        at.error_px[t],
        np.float32(problem.config.robust_px),
        left_jacobian(at.frames[t : t + 1, -6:-3])[0].astype(np.float32),
        slopes,
    )
    slopes = slopes.reshape(len(slopes), -1)
    return (slopes @ slopes.T).astype(np.float64)


def left_jacobian(rotation_rad: np.ndarray) -> np.ndarray:
    """Left Jacobian of rotation vectors, (T, 3, 3): J = I + (1-cos)/a^2 K + (a-sin)/a^3 K^2."""
    angle = np.maximum(np.linalg.norm(rotation_rad, axis=1), 1e-6)[:, None, None]
    x, y, z = rotation_rad.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    first, second = (1 - np.cos(angle)) / angle**2, (angle - np.sin(angle)) / angle**3
    return np.eye(3) + first * cross + second * (cross @ cross)


def _second_difference(frames: np.ndarray) -> np.ndarray:
    """Second difference over time (T, P), with the cosine transform's mirrored ends. Symmetric."""
    padded = np.concatenate([frames[:1], frames, frames[-1:]])
    return padded[2:] - 2 * frames + padded[:-2]
