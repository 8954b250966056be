"""Shared code of the sound stages: it takes 16 kHz mono float32 arrays and knows nothing of rows."""
