from __future__ import annotations

import numpy as np
import pytest

from stages.audio.fingerprint import fingerprint, match_fingerprints
from tests.spoken import english, mandarin, noise


def test_a_copy_is_found_at_its_offset() -> None:
    whole, part = fingerprint(mandarin(8.0)), fingerprint(mandarin(8.0)[1280 * 20 :])
    match = match_fingerprints(part, whole)
    assert match.bit_error_rate == 0.0
    assert match.offset_words == 20
    assert match.overlap_words == len(part)
    assert match_fingerprints(whole, part).offset_words == -20


def test_noise_and_half_a_word_of_delay_change_few_bits() -> None:
    original = mandarin(8.0)
    copy = original[1280 * 10 + 640 :] * 0.5
    copy = copy + noise(len(copy) / 16_000, level=float(copy.std()) / 10)[: len(copy)]
    match = match_fingerprints(fingerprint(copy.astype(np.float32)), fingerprint(original))
    assert match.bit_error_rate < 0.25
    assert match.offset_words in (10, 11)


def test_other_speech_differs() -> None:
    assert match_fingerprints(fingerprint(mandarin(8.0)), fingerprint(english(8.0))).bit_error_rate > 0.35


def test_sizes() -> None:
    assert fingerprint(np.zeros(16_000, np.float32)).shape == (0,)
    words = fingerprint(noise(10.0))
    assert words.dtype == np.uint32
    assert len(words) == (160_000 - 12_288) // 1280 - 2
    with pytest.raises(ValueError, match="empty"):
        match_fingerprints(words, words[:0])
