"""Language identification by Whisper's first decoder step, on speech only.

On music and noise Whisper is overconfident in some language, so callers pass the parts that a VAD calls speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.audio.whisper_mel import LogMel
from stages.core.records import AUDIO_RATE_HZ
from stages.core.weights import WeightStore

_MIN_WINDOW_S, _MAX_WINDOW_S = 10.0, 30.0
_TAIL_S = 1.0
_STEP_S = 0.02
_FILES = ("whisper_base", "whisper_base_config", "whisper_base_tokenizer", "whisper_base_vocabulary")


@dataclass(frozen=True)
class LanguageGuess:
    """The most probable language (ISO 639-1), its probability and its lead over the second."""

    language: str
    prob: float
    margin: float


def best_guess(looks: Sequence[dict[str, float]]) -> LanguageGuess:
    """The best language of the mean distribution over one or more looks.

    Raises:
        ValueError: there is no look.
    """
    if not looks:
        raise ValueError("no look at the language was taken")
    languages = sorted(set().union(*looks))
    mean = np.array([[look.get(name, 0.0) for name in languages] for look in looks]).mean(axis=0)
    second, first = np.sort(mean)[-2:] if len(mean) > 1 else (0.0, mean[0])
    return LanguageGuess(languages[int(mean.argmax())], float(first), float(first - second))


class WhisperLanguage:
    """Whisper base in CTranslate2.

    Args:
        device: cpu, cuda or auto.
    Raises:
        MissingWeights: one of the model's four files was found nowhere.
    """

    def __init__(self, weights: WeightStore, device: str = "auto", num_threads: int = 1) -> None:
        import ctranslate2

        folders = {weights.path(name).parent for name in _FILES}
        if len(folders) != 1:
            found = ", ".join(sorted(map(str, folders)))
            raise RuntimeError(f"whisper_base: its four files must lie in one folder, found {found}")
        on_gpu = device != "cpu" and ctranslate2.get_cuda_device_count() > 0
        self._model = ctranslate2.models.Whisper(
            str(folders.pop()),
            device="cuda" if on_gpu else device.replace("auto", "cpu"),
            compute_type="float16" if on_gpu else "int8",
            intra_threads=num_threads,
        )
        self._log_mel = LogMel(self._model.n_mels)

    def __call__(self, speech: np.ndarray) -> dict[str, float]:
        """Probability of each language, by ISO 639-1 code.

        Padding with silence to 10 s gives the same answer as to 30 s, at a fifth of the cost.

        Args:
            speech: float32 (N,) mono 16 kHz, not empty; only the first 29 s are used.
        """
        import ctranslate2

        length_s = np.clip(len(speech) / AUDIO_RATE_HZ + _TAIL_S, _MIN_WINDOW_S, _MAX_WINDOW_S)
        window = np.zeros(round(length_s / _STEP_S) * round(_STEP_S * AUDIO_RATE_HZ), np.float32)
        heard = speech[: len(window) - round(_TAIL_S * AUDIO_RATE_HZ)]
        window[: len(heard)] = heard
        features = ctranslate2.StorageView.from_array(np.ascontiguousarray(self._log_mel(window)[None]))
        [ranking] = self._model.detect_language(features)
        return {token.strip("<|>"): prob for token, prob in ranking}
