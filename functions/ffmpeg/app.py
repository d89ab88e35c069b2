"""Mirrors a video with FFmpeg.

    {"size": FRAMES, "seed": S}

The video is H.264 of 320 x 180 pixels that follows from the seed. It lies in /tmp,
where a download would be: those of PREPARED are made when the function
initialises, others when they are first asked for. The result is the SHA-256 of
the mirrored video.
"""

import hashlib
import os
import subprocess

LARGEST = 1000  # frames
PREPARED = [(6, 1), (8, 2), (2, 1), (3, 2), (6, 3), (6, 4), (12, 5), (24, 6)]
# What the encoder writes shall not depend on the processor or the time.
REPRODUCIBLE = ["-threads", "1", "-x264-params", "cpu-independent=1", "-fflags", "+bitexact", "-flags", "+bitexact"]


def handler(event, context):
    size, seed = number(event, "size", LARGEST), number(event, "seed", 2**32 - 1)
    path, mirrored = stored(size, seed), f"/tmp/mirrored-{size}-{seed}.mp4"
    ffmpeg("-i", path, "-vf", "hflip", *REPRODUCIBLE, mirrored)
    with open(mirrored, "rb") as f:
        return {"result": hashlib.sha256(f.read()).hexdigest(), "read": os.path.getsize(path), "written": f.tell()}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value


def ffmpeg(*arguments):
    run = subprocess.run(
        ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    if run.returncode:
        raise RuntimeError(f"ffmpeg ended with status {run.returncode}: {run.stdout[-500:]}")


def stored(size, seed):
    """The path of a video, which is made unless it is there."""
    path = f"/tmp/video-{size}-{seed}.mp4"
    if not os.path.exists(path):
        life = f"life=size=80x45:mold=10:ratio=0.3:rate=25:seed={seed}:death_color=#C83232:life_color=#00ff00"
        scene = f"{life},scale=320:180:flags=neighbor+accurate_rnd+bitexact,format=yuv420p"
        ffmpeg("-f", "lavfi", "-i", scene, "-frames:v", str(size), *REPRODUCIBLE, path)
    return path


for video in PREPARED:
    stored(*video)
