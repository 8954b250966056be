"""How a face model is fitted."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.ranges import one_of, ranged


@dataclass(frozen=True)
class GeometryConfig:
    """How the model is fitted. The sigmas are standard deviations of Gaussian priors."""

    model: str = "cc0"  # name of an embedded model, or the path of an .npz file or of BFM_model_front.mat
    # fitted here; or deep3d: by Deep3DFaceRecon's network, which the user supplies
    method: str = one_of("landmarks", "deep3d")
    device: str = one_of("auto", "cpu", "cuda")  # of deep3d's network: cpu, cuda or auto
    chunk_frames: int = ranged(32, low=1)  # frames that deep3d's network sees at a time
    # detector error on rendered faces: 2-3 px, most of it the same in every frame
    landmark_sigma_px: float = ranged(3.0, above=0)
    robust_px: float = ranged(6.0, above=0)  # beyond it an error counts linearly: two sigmas
    oval_weight: float = 0.05  # contour points were 12 mm off where inner ones were 2 mm
    lip_weight: float = 2.0  # the mouth is what the depth is for
    hidden_trust: float = 0.02  # of lips that a hand or a microphone hides: neighbouring frames and the prior decide
    # of landmarks that track interpolated: all of them together count half of one
    guessed_trust: float = ranged(0.001, above=0)
    # a clip of any length says as much of the identity as so many independent frames
    identity_frames: float = ranged(8.0, above=0)
    rotation_accel_sigma_rad: float = ranged(0.02, above=0)  # per frame^2
    translation_accel_sigma_mm: float = ranged(1.5, above=0)  # per frame^2, across the picture
    distance_accel_sigma_mm: float = ranged(3.0, above=0)  # per frame^2, along the line of sight
    burst: float = 2.0  # how far above its rms a head may accelerate: it moves by fits and starts
    num_patches: int = 120  # of the 352 landmarks beside lips and outline
    num_identity_frames: int = 10  # frames that the identity is found from, spread over the clip
    num_guide_frames: int = 6  # frames whose curvature leads the conjugate gradients
    max_steps: int = ranged(8, low=1)
    max_conjugate_steps: int = ranged(6, low=1)
    conjugate_tolerance: float = 0.03  # share of the first expected fall at which conjugate gradients stop
    min_step_length: float = 0.1
    tolerance: float = 0.01  # relative gain of the objective below which the fit stops
