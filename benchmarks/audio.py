"""CPU seconds per minute of audio for each sound component, one thread.

    python -m benchmarks.audio [--seconds 30]

The audio is eSpeak's Mandarin. Times are process time, so that other load on the machine matters less.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import numpy as np

from manifests.demo.voice.speech import Voice, speak
from manifests.demo.voice.texts import FILM, STUDY, TRAVEL, WEATHER
from stages.audio.pcm16 import to_pcm16
from stages.core.command import command, make_parser
from stages.core.records import AUDIO_RATE_HZ
from stages.core.weights import WeightStore

CLIP_S = 10


def cpu_seconds(work: Callable[[], object]) -> float:
    work()  # the first call includes lazy imports and warm-up
    start = time.process_time()
    work()
    return time.process_time() - start


def components(audio: np.ndarray, weights: WeightStore) -> dict[str, Callable[[], object]]:
    """Timed functions by name; each processes all of the audio in clips of 10 s."""
    from stages.audio.campplus import VoiceEmbedder
    from stages.audio.diarize import DiarizeConfig, Diarizer
    from stages.audio.dnsmos import Dnsmos
    from stages.audio.fingerprint import fingerprint
    from stages.audio.vad import SileroVad, VadConfig, webrtc_voiced_ratio
    from stages.audio.whisper_language import WhisperLanguage
    from stages.features import FeaturesConfig, WhisperEncoder
    from stages.lipsync.lip_sound import LipSound

    clips = [audio[i : i + CLIP_S * AUDIO_RATE_HZ] for i in range(0, len(audio), CLIP_S * AUDIO_RATE_HZ)]
    vad, dnsmos, language = SileroVad(VadConfig()), Dnsmos(weights), WhisperLanguage(weights, "cpu")
    voices = VoiceEmbedder(weights, "cpu")
    diarizer = Diarizer(DiarizeConfig(), weights, voices, "cpu")
    encoder = WhisperEncoder(FeaturesConfig(device="cpu"), weights)
    points, expert = np.random.default_rng(0).normal(size=(CLIP_S * 25, 478, 3)), LipSound.load()
    return {
        "silero vad": lambda: [vad(c) for c in clips],
        "webrtc vad": lambda: [webrtc_voiced_ratio(c) for c in clips],
        "dnsmos": lambda: [dnsmos(c) for c in clips],
        "whisper language, clips of 10 s": lambda: [language(c) for c in clips],
        "whisper language, looks of 30 s": lambda: [
            language(audio[i : i + 30 * AUDIO_RATE_HZ]) for i in range(0, len(audio), 30 * AUDIO_RATE_HZ)
        ],
        "cam++ voice": lambda: [voices(c) for c in clips],
        "diarization": lambda: [diarizer(c) for c in clips],
        "whisper encoder": lambda: [encoder.encode(c) for c in clips],
        "fingerprint": lambda: [fingerprint(c) for c in clips],
        "sync": lambda: [expert.curves({"landmarks": points, "audio_pcm16": to_pcm16(c)}) for c in clips],
    }


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("python -m benchmarks.audio", __doc__)
    parser.add_argument("--seconds", type=int, default=30, help="length of the audio, a multiple of 30")
    seconds = parser.parse_args(arguments).seconds
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    import torch

    torch.set_num_threads(1)
    text = [*FILM, *STUDY, *TRAVEL, *WEATHER]
    spoken = speak(text, Voice(), 60.0).audio
    audio = np.resize(spoken, seconds * AUDIO_RATE_HZ)
    for name, work in components(audio, WeightStore.from_environment()).items():
        print(f"{name:32} {cpu_seconds(work) * 60 / seconds:6.2f} CPU-s per minute")


if __name__ == "__main__":
    raise SystemExit(main())
