"""Mouth shapes for speech: phone -> viseme -> rig parameters, and co-articulation over time.

A frame's mouth is a row of MOUTH_KEYS values; they replace those of the resting face.
"""
import numpy as np

REST_FACE = dict(mouthSmile=.42, mouthDimple=.12, mouthPress=.05, mouthShrugLower=.08, cheekSquint=.20, eyeWide=.05,
                 browInnerUp=.05, browOuterUp=.04)
CLOSED_ONLY = ('mouthPress', 'mouthShrugLower')    # parts of the resting face that an open mouth does not keep
MOUTH_KEYS = ('jawOpen', 'mouthSmile', 'mouthDimple', 'mouthStretch', 'mouthPucker', 'mouthFunnel', 'mouthPress',
              'mouthClose', 'mouthRollUpper', 'mouthRollLower', 'mouthUpperUp', 'mouthLowerDown', 'mouthShrugLower',
              'tongueUp', 'tongueOut')

VISEMES = {
    'rest': {},
    'AA': dict(jawOpen=.34, mouthLowerDown=.18, mouthUpperUp=.08, mouthSmile=.20, mouthDimple=.05),   # father
    'AE': dict(jawOpen=.27, mouthLowerDown=.28, mouthUpperUp=.16, mouthSmile=.34, mouthStretch=.12),  # cat
    'AH': dict(jawOpen=.19, mouthLowerDown=.20, mouthUpperUp=.10, mouthSmile=.24, mouthDimple=.06),   # but
    'EE': dict(jawOpen=.09, mouthStretch=.30, mouthSmile=.44, mouthUpperUp=.22, mouthLowerDown=.36),  # see
    'IH': dict(jawOpen=.12, mouthStretch=.12, mouthSmile=.34, mouthUpperUp=.16, mouthLowerDown=.28),  # sit
    'OH': dict(jawOpen=.23, mouthPucker=.26, mouthFunnel=.26, mouthSmile=.06, mouthDimple=0),         # go, law
    'OO': dict(jawOpen=.10, mouthPucker=.46, mouthFunnel=.26, mouthSmile=0, mouthDimple=0),           # too, w
    'ER': dict(jawOpen=.11, mouthPucker=.22, mouthFunnel=.24, mouthSmile=.10, mouthDimple=0,
               mouthLowerDown=.14, tongueUp=.4),                                                      # r, her
    'SH': dict(jawOpen=.05, mouthPucker=.16, mouthFunnel=.40, mouthSmile=.05, mouthDimple=0,
               mouthLowerDown=.30, mouthUpperUp=.18),                                                 # sh, ch, j
    'S': dict(jawOpen=.03, mouthStretch=.22, mouthLowerDown=.38, mouthUpperUp=.26, mouthSmile=.28),   # s, z
    'DN': dict(jawOpen=.09, mouthLowerDown=.25, mouthUpperUp=.15, mouthSmile=.28, tongueUp=.5),       # t, d, n, k, g
    'L': dict(jawOpen=.19, mouthLowerDown=.22, mouthUpperUp=.16, mouthSmile=.20, tongueUp=1.2, tongueOut=.5),
    'TH': dict(jawOpen=.13, mouthLowerDown=.24, mouthUpperUp=.16, mouthSmile=.20, tongueUp=.62, tongueOut=1.15),
    'FV': dict(jawOpen=.02, mouthRollLower=.52, mouthShrugLower=.20, mouthUpperUp=.24, mouthSmile=.22, mouthDimple=.05),
    'MBP': dict(mouthPress=.30, mouthRollUpper=.22, mouthRollLower=.26, mouthSmile=.24, mouthDimple=.08),
}
CLOSURES = ('MBP', 'FV')

# Phones as flite and the CMU dictionary name them; two visemes = a diphthong (second half).
PHONES = {
    'pau': 'rest', 'sil': 'rest', 'h#': 'rest', 'aa': 'AA', 'ae': 'AE', 'ah': 'AH', 'ax': 'AH', 'axr': 'ER', 'eh': 'AE',
    'ih': 'IH', 'ix': 'IH', 'iy': 'EE', 'y': 'EE', 'ey': 'AE EE', 'ay': 'AA IH', 'aw': 'AA OO', 'oy': 'OH IH',
    'ow': 'OH OO', 'ao': 'OH', 'uh': 'OH', 'uw': 'OO', 'w': 'OO', 'er': 'ER', 'r': 'ER', 'l': 'L', 'el': 'L',
    'th': 'TH', 'dh': 'TH', 's': 'S', 'z': 'S', 'sh': 'SH', 'zh': 'SH', 'ch': 'SH', 'jh': 'SH', 'f': 'FV', 'v': 'FV',
    'm': 'MBP', 'em': 'MBP', 'b': 'MBP', 'p': 'MBP', 't': 'DN', 'd': 'DN', 'n': 'DN', 'en': 'DN', 'dx': 'DN',
    'k': 'DN', 'g': 'DN', 'ng': 'DN', 'hh': None, 'hv': None}            # None: keeps the next phone's mouth

# Phones as espeak-ng 1.51 names them (English, German, Spanish, French), in the names above; two = one after the other.
ESPEAK = {
    name: phones for phones, names in {
        'pau': '_ _: _| _!', 'aa': 'A: A A@ 0 0# O2 A~ a-', 'ae': 'a aa a@', 'ah': 'V VR @ @2 @- @5 a# @L@ y-',
        'eh': 'E E: E2 e@ e E~', 'ih': 'I I2 I# Y2', 'iy': 'i i: j ; J^', 'ey': 'eI e:', 'ay': 'aI aI2 aI3', 'aw': 'aU',
        'oy': 'OI OY oI', 'ow': 'oU', 'ao': 'O O: O@ o@ o o: O~', 'uh': 'U', 'uw': 'u u: y y: Y Y: W W~ W: w w#',
        'er': '3 3: IR', 'r': 'r r-', 'iy ax': 'i@ i@3', 'uw ax': 'U@', 'ay ax': 'aI@ aI3@', 'aw ax': 'aU@',
        'l': 'l l^', 'ax l': '@L', 'th': 'T', 'dh': 'D', 's': 's', 'z': 'z z2', 'sh': 'S C', 'zh': 'Z', 'ch': 'tS', 'jh': 'dZ',
        'f': 'f', 'v': 'v v#', 'p f': 'pF', 'm': 'm m-', 'b': 'b B', 'p': 'p p2', 't': 't t# t2 ts ?', 'd': 'd ** R2', 'n': 'n n- n^',
        'k': 'k x', 'g': 'g Q R', 'ng': 'N', 'hh': 'h',
    }.items() for name in names.split()}


def mouth_vector(viseme, openness=1.0):
    """MOUTH_KEYS values of a viseme; openness moves between the resting mouth (0) and the full shape (1)."""
    rest = np.array([REST_FACE.get(k, 0) for k in MOUTH_KEYS], float)
    if viseme == 'rest':
        return rest
    kept = {k: v for k, v in REST_FACE.items() if k not in CLOSED_ONLY}
    full = np.array([{**kept, **VISEMES[viseme]}.get(k, 0) for k in MOUTH_KEYS], float)
    return rest + (full - rest) * openness


def mouth_params(vector):
    return {k: round(float(v), 4) for k, v in zip(MOUTH_KEYS, vector)}


def _targets(phones):
    """(viseme, start, end) spans; a breathy h takes the following mouth."""
    spans = []
    for i, (phone, start, end) in enumerate(phones):
        name = PHONES.get(phone, 'DN')
        if name is None:
            following = PHONES.get(phones[i + 1][0]) if i + 1 < len(phones) else None
            name = (following or 'AH').split()[0]
        parts = name.split()
        cuts = np.linspace(start, end, len(parts) + 1)
        spans += list(zip(parts, cuts[:-1], cuts[1:]))
    return spans


def mouth_track(phones, fps=30, step=.005, smooth=.035, ramp=.065, emphasis=1.0, frame=None):
    """phones: (name, start, end) in seconds. Returns one MOUTH_KEYS row per frame, or at a finer fps where `frame`
    gives the seconds that one frame is shown.

    Shapes are blended with a Gaussian; lip closures then take over for their whole phone, and for at least a little
    more than one frame, so that m, b, p, f and v always show."""
    spans = _targets(phones)
    total = spans[-1][2]
    time = np.arange(0, total + step, step)
    track = np.tile(mouth_vector('rest'), (len(time), 1))
    for viseme, start, end in spans:
        track[int(start / step):int(end / step)] = mouth_vector(viseme, emphasis)
    r = np.arange(-int(4 * smooth / step), int(4 * smooth / step) + 1) * step
    kernel = np.exp(-.5 * (r / smooth) ** 2)
    pad = len(r) // 2
    padded = np.pad(track, ((pad, pad), (0, 0)), 'edge')
    track = np.stack([np.convolve(c, kernel / kernel.sum(), 'valid') for c in padded.T], -1)
    windows = []
    for viseme, start, end in spans:
        if viseme in CLOSURES:
            middle, half = (start + end) / 2, max((end - start) / 2 - .015, .55 * (frame or 1 / fps))
            windows.append((viseme, middle - half, middle + half))
    for i, (viseme, start, end) in enumerate(windows):
        before = start - windows[i - 1][2] if i else ramp                    # leave a neighbouring closure alone
        after = windows[i + 1][1] - end if i + 1 < len(windows) else ramp
        rise, fall = (float(np.clip(r, .005, ramp)) for r in (before, after))
        w = np.clip(np.minimum((time - start) / rise + 1, (end - time) / fall + 1), 0, 1)
        w = (w * w * (3 - 2 * w))[:, None]
        track = track * (1 - w) + mouth_vector(viseme) * w
    return track[np.minimum((np.arange(int(total * fps)) / fps / step + .5).astype(int), len(track) - 1)]
