"""Renders the clip that the demo interpolates, by ray tracing.

    python -m midframe.demo.render_clip clip.mp4 truth.mp4

The scene is rendered at 32 frames a second. Every second frame is ``clip.mp4``, which ships with the
project; the ones between them, which the demo never shows the network, are ``truth.mp4``. It takes about
ten minutes of one CPU core.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from .scene import FAR, Array, Ball, Table, Thing, dot, f32, hashed, scene, smooth, surroundings, unit

# Pixels; rendered frames a second, and their number, of both files together. Below, lengths are in metres and
# times in seconds.
WIDTH, HEIGHT = 480, 272
RATE = 32
FRAMES = 79
SAMPLES = 16
"""Rays for each pixel; they share out its area, the lens, the lamp and the time that the shutter is open."""
SHUTTER = 1 / 96
LAMP = np.array([-2.2, 4.0, -1.6], np.float32)
LAMP_RADIUS = 0.55
LENS_RADIUS = 0.012
FOCUS = 3.6
ZOOM = 1.75
"""Focal length by the height of the picture."""


def occlusion(point: Array, normal: Array, things: list[Thing], own: Thing) -> Array:
    """Return how much of the room's light arrives at points of the surface of ``own``, 0..1."""
    open_sky = np.ones_like(point[..., :1])
    for thing in things:
        if thing is own or isinstance(thing, Table):
            continue
        to = thing.centre - point
        far = np.sqrt(dot(to, to))
        size = thing.radius if isinstance(thing, Ball) else thing.half * 1.2
        # A thing takes away light by the solid angle that it fills, (size / distance)^2, weighted by how far
        # the surface faces it.
        facing = np.clip(dot(normal, to) / far * 0.5 + 0.5, 0, 1) if own.gloss else np.float32(0.5)
        open_sky *= 1 - np.clip(size / far, 0, 1) ** 2 * facing * 0.9
    if not isinstance(own, Table):
        open_sky *= 0.62 + 0.38 * smooth(-0.9, 0.5, normal[..., 1:2])
    return open_sky


def shade(things: list[Thing], origin: Array, way: Array, lamp: Array) -> Array:
    """Compute the linear RGB that arrives along rays; ``lamp`` is the point of the lamp that each ray is lit
    by.
    """
    hits = np.concatenate([thing.hit(origin, way) for thing in things], -1)
    nearest, distance = hits.argmin(-1), hits.min(-1, keepdims=True)
    colour = surroundings(way)
    for index, thing in enumerate(things):
        hit = (nearest == index) & (distance[:, 0] < FAR / 2)
        if not hit.any():
            continue
        d = way[hit]
        point = origin[hit] + d * distance[hit]
        normal = thing.normal(point)
        to_lamp = lamp[hit] - point
        reach = np.sqrt(dot(to_lamp, to_lamp))
        to_lamp = to_lamp / reach
        # A little above the surface, or it would shadow itself.
        start = point + normal * 2e-3
        lit = np.ones_like(reach, bool)
        # The table, which is the first, casts no shadow on what stands on it.
        for other in things[1:]:
            lit &= other.hit(start, to_lamp) > reach
        lamp_light = np.clip(dot(normal, to_lamp), 0, 1) * lit * f32([1.0, 0.93, 0.82]) * 27 / reach**2
        sky = occlusion(point, normal, things, thing)
        surface = thing.paint(point, thing.local(point)) * (lamp_light + sky * f32([0.34, 0.37, 0.43]))
        # Phong's highlight of the lamp, and Schlick's (1 - cos)^5: glancing rays reflect most.
        mirror = d - 2 * dot(d, normal) * normal
        facing = np.clip(1 + dot(d, normal), 0, 1)
        shine = thing.gloss + (0.4 - 0.4 * thing.gloss) * (facing**5 if thing.gloss else 0)
        spot = np.clip(dot(mirror, to_lamp), 0, 1) ** 180 * lit * 5 * thing.gloss
        reflected = surface + surroundings(unit(f32(mirror))) * shine * sky + spot
        colour[hit] = reflected
    return colour


def camera(t: float) -> tuple[Array, Array]:
    """Return the camera's place, and its axes (right, up, forward) as rows: a slow pan, held in the hand."""
    shake = f32(
        [np.sin(2.3 * t) + 0.5 * np.sin(5.1 * t + 1), np.sin(2.9 * t + 2) + 0.4 * np.sin(6.3 * t), 0.0]
    )
    place = f32([-0.35 + 0.22 * t, 1.22, -3.3]) + 0.008 * shake
    aim = f32([-0.10 + 0.10 * t, 0.40, 0.55]) + 0.012 * shake[::-1]
    forward = unit(aim - place)
    right = unit(f32(np.cross(f32([0, 1, 0]), forward)))
    return place, f32([right, np.cross(forward, right), forward])


def render(t: float) -> npt.NDArray[np.uint8]:
    """Render the picture at time ``t``, (HEIGHT, WIDTH, 3)."""
    y, x = (v.reshape(-1, 1) for v in np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32))
    # Turned anew for each pixel, so that few samples give noise and no rings.
    turn = hashed(x, y)
    total = np.zeros((HEIGHT * WIDTH, 3), np.float32)
    side = round(SAMPLES**0.5)
    for k in range(SAMPLES):
        # Times of the samples are shuffled by a step that shares no factor with their number.
        place, axes = camera(t + SHUTTER * (k * 7 % SAMPLES) / SAMPLES)
        # The pixel in side x side cells, a ray through the middle of each.
        u, v = (k % side + 0.5) / side, (k // side + 0.5) / side
        # Right, up and forward, in heights of the picture.
        screen = np.concatenate(
            [(x + u - WIDTH / 2) / HEIGHT, (HEIGHT / 2 - y - v) / HEIGHT, np.full_like(x, ZOOM)], -1
        )
        # The point in the plane of focus that the ray goes through, from wherever on the lens it starts.
        target = place + f32(screen / ZOOM * FOCUS) @ axes
        # A spiral by the golden angle, 0.381966 of a turn, covers a disc evenly; lens and lamp share it.
        angle, radius = (k * 0.381966 + turn) * 6.2832, np.sqrt((k + 0.5) / SAMPLES)
        disc = np.concatenate([np.cos(angle), np.sin(angle)], -1) * radius
        origin = place + f32(disc * LENS_RADIUS) @ axes[:2]
        lamp = LAMP + np.concatenate([disc[:, :1], 0 * angle, disc[:, 1:]], -1)[:, [1, 0, 2]] * LAMP_RADIUS
        things = scene(t + SHUTTER * (k * 7 % SAMPLES) / SAMPLES)
        # Clamped: a single very bright ray would leave a speck among so few.
        total += np.minimum(shade(things, f32(origin), unit(f32(target - origin)), f32(lamp)), 4.0)
    light = total / SAMPLES * 0.9
    # Darker towards the corners, as a lens does it.
    light *= 1 - 0.28 * (((x / WIDTH - 0.5) ** 2) + ((y / HEIGHT - 0.5) ** 2))
    film = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)  # Narkowicz's fit of ACES
    # Linear light to the gamma of displays.
    return np.rint(np.clip(film, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)


def write(path: Path, pictures: list[npt.NDArray[np.uint8]], rate: int) -> None:
    """Write pictures as H.264, tagged BT.709."""
    with av.open(str(path), "w") as container:
        # Slow settings once, for a small file that is downloaded with every copy of the project.
        stream: Any = container.add_stream("libx264", Fraction(rate), {"crf": "17", "preset": "veryslow"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context = stream.codec_context
        # FFmpeg's numbers: 1 is BT.709 as matrix, primaries and transfer, and as range the limited one (16 to
        # 235).
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = 1, 1, 1, 1
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(
                stream.encode(frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1))
            )
        container.mux(stream.encode())


def main() -> None:
    """Render both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("truth", type=Path)
    arguments = parser.parse_args()
    # An odd number: 40 frames for the clip, and the 39 between them.
    pictures = [render(n / RATE) for n in range(FRAMES)]
    write(arguments.clip, pictures[::2], RATE // 2)
    write(arguments.truth, pictures[1::2], RATE // 2)


if __name__ == "__main__":
    main()
