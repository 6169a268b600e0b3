"""Renders the seamless idle loop: frame_0000 ... as JPEG or PNG plus loop.json (poses, crop boxes, landmarks).

Resumable: frames that exist (as .jpg or .png) are skipped. Coarse frames come first (every 8th, 4th, 2nd, then the
rest), so an interrupted run still leaves an evenly spaced loop.
"""
import argparse
import json
import math
import os
from pathlib import Path

import numpy as np

import crop
import rig
import visemes

FRAMES, FPS = 240, 30
STRIDES = (8, 4, 2, 1)                         # order of rendering, coarse first
BLINKS = (34, 112, 186)                        # frames with closed eyes; even, so that a half-rate loop keeps them
GAZE = ((0, 0), (.9, -.2), (.2, .5), (-.8, .1), (-.3, -.4), (.5, .2))    # small eye movements, degrees


def idle(frame, frames=FRAMES):
    """Parameters of one frame. Every term has whole cycles per loop, so the last frame leads into the first."""
    u = frame / frames
    seconds = FRAMES / FPS

    def wave(cycles, phase=0.):
        return math.sin(2 * math.pi * (cycles * u + phase))

    blink = 0.
    for b in BLINKS:
        x = (u - b / FRAMES) * seconds
        blink = max(blink, 1 + x / .10 if x < 0 else 1 - x / .18)
    blink = rig.smoothstep(0, 1, blink)
    k, f = divmod(u * len(GAZE) % len(GAZE), 1)
    a, b = GAZE[int(k)], GAZE[(int(k) + 1) % len(GAZE)]
    jump = rig.smoothstep(.92, 1, f)
    glance = [p + (q - p) * jump for p, q in zip(a, b)]

    p = dict(visemes.REST_FACE)
    p.update(yaw=2.3 * wave(1) + .8 * wave(2, .2), pitch=.9 * wave(1, .3) + .6 * wave(2, .1),
             roll=.9 * wave(1, .55) + .4 * wave(2, .7), breath=.5 + .5 * wave(2, .4),
             eyeBlink=float(blink), eyeWide=.05 * (1 - float(blink)))
    p['browInnerUp'] += .04 * wave(1, .4)
    p['mouthSmile'] += .04 * wave(1, .1)
    p['gaze_x'] = -.85 * p['yaw'] + glance[0]  # the eyes stay on the viewer while the head moves
    p['gaze_y'] = .85 * p['pitch'] + glance[1]
    return {k: round(float(v), 5) for k, v in p.items()}


def crop_box(params, size=512):
    """Whole-pixel lower-face box (x0, y0, x1, y1) that follows the head; always the same size."""
    from scene import project
    x, y = project(rig.head_pose(rig.MOUTH[None], params), size)[0]
    return crop.snap(x, y, size)


def describe(frame, frames=FRAMES, size=512):
    from scene import project
    p = idle(frame, frames)
    neutral = rig.expression({k: v for k, v in p.items() if k in visemes.REST_FACE or k == 'eyeBlink'})
    marks = project(rig.head_pose(neutral, p)[rig.LANDMARKS], size)
    mouth = project(rig.head_pose(rig.MOUTH[None], p), size)[0]
    return dict(index=frame, params=p, crop=crop_box(p, size), mouth_centre=np.round(mouth, 2).tolist(),
                landmarks=np.round(marks, 1).tolist())


def describe_loop(out, frames, size):
    """loop.json for the frames that exist in a folder."""
    have = [i for i in range(frames) if frame_file(out, i)]
    step = next((s for s in STRIDES[::-1] if all(frame_file(out, i) for i in range(0, frames, s))), None)
    return dict(size=size, frames_in_loop=frames, seconds=FRAMES / FPS, complete_step=step,
                fps=step and frames * FPS / FRAMES / step,
                note='play the frames whose index is a multiple of complete_step at fps; others are extra so far',
                pose_units='degrees; yaw > 0 turns towards the right of the picture, pitch > 0 looks down',
                crop='lower-face box x0, y0, x1, y1 in pixels, y down', landmarks='68 face landmarks in pixels',
                frames=[dict(describe(i, frames, size), file=frame_file(out, i).name) for i in have])


def frame_file(out, i):
    """The existing file of a frame, or None."""
    return next((p for p in (out / f'frame_{i:04d}{e}' for e in ('.jpg', '.png')) if p.exists()), None)


def coarse_first(frames):
    seen = []
    for stride in STRIDES:
        seen += [i for i in range(0, frames, stride) if i % (stride * 2) or stride == STRIDES[0]]
    return seen


def save_image(image, path):
    part = path.with_name('.part_' + path.name)
    image.save(part, **({'quality': 92, 'subsampling': 0} if path.suffix == '.jpg' else {}))
    os.replace(part, path)                     # a frame file is complete or absent


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--out', type=Path, default=Path('out/loop'))
    a.add_argument('--size', type=int, default=512)
    a.add_argument('--samples', type=int, default=12)
    a.add_argument('--threads', type=int, default=os.cpu_count())
    a.add_argument('--frames', type=int, default=FRAMES, help='frames per 8 s loop')
    a.add_argument('--only', type=int, nargs='*', help='just these frames')
    a.add_argument('--half', action='store_true', help='just the even frames (15 fps)')
    a.add_argument('--format', choices=('jpg', 'png'), default='jpg')
    a.add_argument('--json-only', action='store_true')
    o = a.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    todo = o.only if o.only is not None else coarse_first(o.frames)
    todo = [i for i in todo if not (o.half and i % 2)]
    todo = [i for i in todo if not frame_file(o.out, i)]
    if todo and not o.json_only:
        from PIL import Image

        import backdrop
        from scene import Avatar
        avatar, plate, raw = Avatar(o.samples, o.size, o.threads), backdrop.backdrop(o.size), o.out / '.render.png'
        for n, i in enumerate(todo):
            seconds = avatar.render(idle(i, o.frames), raw.resolve())
            save_image(backdrop.over_backdrop(Image.open(raw), plate), o.out / f'frame_{i:04d}.{o.format}')
            print(f'frame {i} ({n + 1}/{len(todo)}) {seconds:.1f} s', flush=True)
        raw.unlink()
    info = describe_loop(o.out, o.frames, o.size)
    (o.out / 'loop.json').write_text(json.dumps(info, separators=(',', ':')))


if __name__ == '__main__':
    main()
