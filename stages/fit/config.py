"""Settings of the fit."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.ranges import one_of, ranged


@dataclass(frozen=True)
class GeometryConfig:
    """Settings of the fit. The sigmas are standard deviations of Gaussian priors."""

    model: str = "cc0"  # Face model: the name of an embedded one, or the path of an .npz file or of BFM_model_front.mat
    # landmarks fits the model here. deep3d uses Deep3DFaceRecon's network, which the user supplies
    method: str = one_of("landmarks", "deep3d")
    device: str = one_of("auto", "cpu", "cuda")  # Device of deep3d's network; auto takes CUDA where there is a GPU
    chunk_frames: int = ranged(32, low=1)  # Frames that deep3d's network takes at a time
    # Standard deviation of a landmark. The detector's error on rendered faces is 2-3 px, most of it the same in every
    # frame
    landmark_sigma_px: float = ranged(3.0, above=0)
    robust_px: float = ranged(6.0, above=0)  # Error of a landmark beyond which it counts linearly: two sigmas
    # Weight of the landmarks of the outline, where inner ones have 1. They were 12 mm off where inner ones were 2 mm
    oval_weight: float = 0.05
    lip_weight: float = 2.0  # Weight of the landmarks of the lips. The mouth is what the depth is for
    # Weight factor of lips that a hand or a microphone hides. At 0.02 neighbouring frames and the prior decide
    hidden_trust: float = 0.02
    # Weight factor of landmarks that track interpolated. All of them together count half of one
    guessed_trust: float = ranged(0.001, above=0)
    # Number of independent frames that a clip of any length counts as in the fit of the identity
    identity_frames: float = ranged(8.0, above=0)
    # Largest standard deviation of the rotation's change of velocity, per frame^2
    rotation_accel_sigma_rad: float = ranged(0.02, above=0)
    # Largest standard deviation of the translation's change of velocity across the picture, per frame^2
    translation_accel_sigma_mm: float = ranged(1.5, above=0)
    # Largest standard deviation of the change of velocity along the line of sight, per frame^2
    distance_accel_sigma_mm: float = ranged(3.0, above=0)
    burst: float = 2.0  # Standard deviation of a head's acceleration over its rms in a first fit. Heads move in bursts
    num_patches: int = 120  # Number of patches into which the 352 landmarks beside lips and outline are grouped
    num_identity_frames: int = 10  # Number of frames that the identity is fitted to, spread over the clip
    num_guide_frames: int = 6  # Number of frames whose curvature preconditions the conjugate gradients
    max_steps: int = ranged(8, low=1)  # Largest number of Gauss-Newton steps
    max_conjugate_steps: int = ranged(6, low=1)  # Largest number of conjugate-gradient steps in a Gauss-Newton step
    conjugate_tolerance: float = 0.03  # Share of the first expected decrease at which conjugate gradients stop
    min_step_length: float = 0.1  # Least length of a line-search step, as a share of the full step
    tolerance: float = 0.01  # Relative decrease of the objective below which the fit stops
