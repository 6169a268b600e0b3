"""Chooses mouths to render for the patch net: farthest-point order over co-articulated speech, on shuffled loop frames.

    python make_list.py --count 1800 --out list.json

Any first part of the list is a well-spread set, so rendering may stop early.
"""
import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import visemes
from render_loop import FRAMES
from speech import VOICES, speak

SENTENCES = """\
The quick brown fox jumps over the lazy dog.
She sells sea shells by the sea shore on sunny summer mornings.
Peter Piper picked a peck of pickled peppers, but Bob bought bread.
How much wood would a woodchuck chuck if a woodchuck could chuck wood?
Five very fine violets for my favourite vivacious friend.
Oh boy, you know the loud cow was down by the old mouse house.
Good afternoon, thank you for calling. How may I help you today?
We are moving through a smooth blue room with a huge new moon.
Yes please, the cheese and the peas are quite cheap this week.
I thought that thirty three thieves threw their things there.
Choose your shoes, judge, and measure the treasure with pleasure.
A happy man can clap his hands and laugh at that bad map.
Lily rolled the yellow lemon along the lower wall of the hall.
Father started the large car and parked far from the market.
The weather will be warm and windy with a few showers later on.
Please remember to bring my umbrella, because maybe it becomes humid by noon.
Early birds heard the nurse murmur thirty words in the church.
Joy enjoyed the noisy toys that the boy employed.
Why might nine kind lions lie quietly behind the pines?
They say eight grey apes ate great cakes on the train.
Mumbling, Pamela bumped the lamp and stamped on the map.
Give Vivian five leaves of clover above the river.
Do you want to open the window or would you rather wait outside?
Zebras and zoos amuse us as the breeze blows over the roses.
Thank you very much, have a wonderful day and goodbye.""".splitlines()
OPENNESS = (.4, .7, 1., 1.15)
SMOOTHING = (.02, .035, .05)                   # seconds: crisp to lazy articulation
# How much a unit of each parameter of visemes.MOUTH_KEYS shows.
VISIBILITY = np.array([3., 1, 1, 1.5, 2, 2, 1.5, 1, 2, 2, 1.5, 1.5, 1, .6, .6])


def candidates():
    """Every mouth of the sentences, crisp, lazy and weak, and the visemes themselves: (n, 15)."""
    rows = [np.array([visemes.mouth_vector(v, o) for v in visemes.VISEMES for o in OPENNESS])]
    with TemporaryDirectory() as folder:
        for i, text in enumerate(SENTENCES):
            phones = speak(text, Path(folder) / 'line.wav', VOICES[i % len(VOICES)])
            rows += [visemes.mouth_track(phones, smooth=s) for s in SMOOTHING]
            rows.append(visemes.mouth_track(phones, emphasis=.6))
    return np.concatenate(rows)


def farthest_points(points, count):
    """Indices of `count` points: first the most ordinary, then always the one farthest from all before."""
    first = int(np.argmin(((points - points.mean(0)) ** 2).sum(1)))
    chosen, distance = [first], ((points - points[first]) ** 2).sum(1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(1))
    return chosen


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--count', type=int, default=1800)
    a.add_argument('--out', type=Path, default=Path('list.json'))
    a.add_argument('--seed', type=int, default=7)
    o = a.parse_args()
    pool, rng = candidates(), np.random.default_rng(o.seed)
    chosen = farthest_points(pool * VISIBILITY, o.count)
    frames = np.concatenate([rng.permutation(FRAMES) for _ in range(-(-o.count // FRAMES))])
    o.out.write_text(json.dumps([dict(frame=int(f), mouth=pool[j].tolist()) for f, j in zip(frames, chosen)]))
    print(f'{o.count} of {len(pool)} mouths')


if __name__ == '__main__':
    main()
