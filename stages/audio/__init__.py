"""What the sound stages share: cores that take 16 kHz mono float32 arrays and know nothing of rows."""
