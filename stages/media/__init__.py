"""Media files in, arrays out: the only place that calls PyAV.

All times are seconds on the file's presentation clock: timestamps minus the start of the earliest stream, which is
therefore at 0. Frames and samples are placed by their timestamps, never by counting, so that variable frame rates,
late streams and holes keep lips and sound together.
"""

from stages.media.audio import decode_audio
from stages.media.facts import MediaFacts, probe_media
from stages.media.video import SourceFrame, VideoFrame, decode_frames, decode_video
from stages.media.write import write_video

__all__ = [
    "MediaFacts",
    "SourceFrame",
    "VideoFrame",
    "decode_audio",
    "decode_frames",
    "decode_video",
    "probe_media",
    "write_video",
]
