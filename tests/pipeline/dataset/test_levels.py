from __future__ import annotations

import numpy as np

from pipeline.dataset.levels import to_levels


def test_states_come_back_within_half_a_step() -> None:
    random = np.random.default_rng(0)
    spread = np.geomspace(0.1, 8, 40)
    states = (random.normal(size=(400, 40)) * spread + 3 * spread).astype(np.float16)
    levels, step = to_levels(states)
    assert levels.dtype == np.int8 and step.shape == (40,)
    error = np.abs(levels * step - states)
    assert (error <= step / 2 + 1e-3).all()
    assert (np.sqrt((error**2).mean(axis=0)) < 0.053 * states.std(axis=0)).all()


def test_a_single_large_value_is_kept() -> None:
    states = np.zeros((400, 3), np.float16)
    states[7, 1], states[:, 2] = -575, 0.25
    levels, step = to_levels(states)
    back = levels * step
    assert abs(back[7, 1] + 575) <= step[1] / 2 and not np.delete(back[:, 1], 7).any()
    assert not back[:, 0].any() and np.allclose(back[:, 2], 0.25, rtol=0.01)
