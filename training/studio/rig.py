"""The head: ICT-FaceKit Light rig (MIT) with our identity, stylisation, expressions, head pose and colour masks.

All positions are in rig units (about centimetres): x right, y up, z towards the camera.
"""
import math
import os
from pathlib import Path

import numpy as np

FOLDER = Path(os.environ.get('AVATAR_RIG', '.')).resolve()    # where pack_rig.py wrote its files
_data = np.load(FOLDER / 'rig_small.npz')
FACES = _data['F'].astype(np.int64)            # quads; -1 in the last column for triangles
FACE_UV = _data['FT'].astype(np.int64)
UV = _data['VT']
FACE_PART = _data['mats'].astype(np.int64)     # 0, 1 face + bust, 2 gums + tongue, 3 teeth
SHAPE_INDEX = {str(n): i for i, n in enumerate(_data['exn'])}
SHAPES = _data['ex'].astype(np.float64)

# Vertex ranges of the ICT mesh.
FACE_V = slice(0, 9409)
SCALP_V = slice(9409, 11248)
BUST_END = 11248
SOCKET_V = slice(11248, 13294)                 # inside of the mouth
TONGUE_V = slice(14062, 17039)                 # gums and tongue
EYEBALL_L, EYEBALL_R = slice(21451, 22221), slice(23021, 23791)
LASH_CARDS = ((25304, 25351), (25844, 26035))  # (first face, first vertex) for each eye; 540 faces, 684 vertices
# The 68 usual face landmarks, as vertex numbers.
LANDMARKS = [
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147,
    4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081,
    0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966]
CHIN, NOSE_BRIDGE, NOSE_TIP, NOSE_BASE, LIP_TOP_INNER, LIP_LOW_INNER = 8, 27, 30, 33, 62, 66

# The identity is already in the stored vertices; this brings the head back to the neutral head's size.
HEAD_SCALE = 1.054657799323906
ANCHOR = np.array([0., 3.74103999, 10.73439980])


def smoothstep(a, b, x):
    t = np.clip((x - a) / (b - a), 0, 1)
    return t * t * (3 - 2 * t)


def landmark(verts, i):
    return verts[LANDMARKS[i]]


def fit_sphere(points):
    a = np.c_[2 * points, np.ones(len(points))]
    x = np.linalg.lstsq(a, (points ** 2).sum(1), rcond=None)[0]
    return x[:3], math.sqrt(x[3] + x[:3] @ x[:3])


_stored = _data['V'].astype(np.float64)
BASE = (_stored - landmark(_stored, NOSE_BRIDGE)) * HEAD_SCALE + ANCHOR
_eye_l0, _ = fit_sphere(BASE[EYEBALL_L])
_eye_r0, _ = fit_sphere(BASE[EYEBALL_R])
_nose0 = landmark(BASE, NOSE_BASE).copy()
_mouth0 = .5 * (landmark(BASE, LIP_TOP_INNER) + landmark(BASE, LIP_LOW_INNER))
_chin0 = landmark(BASE, CHIN).copy()
SHOULDER_Y = _chin0[1] - 3.2
LIP_FULLNESS = .17


def stylise(verts):
    """Bigger eyes, finer nose, fuller lips, slimmer jaw, wider shoulders. Weights come from BASE."""
    rest, v = BASE, verts.copy()
    grown = v.copy()
    for c in (_eye_l0, _eye_r0):
        d = rest - c
        r = np.sqrt((d[:, 0] / 2.1) ** 2 + (d[:, 1] / 1.75) ** 2 + (d[:, 2] / 3.2) ** 2)
        grown += (v - c) * (1 - smoothstep(.75, 1.75, r))[:, None] * .27
    v = grown
    d = rest - _nose0
    w = np.exp(-((d[:, 0] / 2.0) ** 2 + (d[:, 1] / 2.0) ** 2 + (d[:, 2] / 2.4) ** 2))
    v = v - np.c_[d[:, 0] * .16 * w, -.12 * w, d[:, 2] * .10 * w]
    d = rest - _mouth0
    w = np.exp(-((d[:, 0] / 2.6) ** 2 + (d[:, 1] / 1.15) ** 2 + (d[:, 2] / 2.5) ** 2))
    v = v + np.c_[0 * w, d[:, 1] * LIP_FULLNESS * w, .6 * LIP_FULLNESS * w]
    y = rest[:, 1]
    w = (1 - smoothstep(_chin0[1] - 1, _chin0[1] + 6.5, y)) * smoothstep(_chin0[1] - 5, _chin0[1] - 1, y)
    v[:, 0] *= 1 - .08 * w * smoothstep(-1, 3, rest[:, 2])
    w = smoothstep(SHOULDER_Y, SHOULDER_Y - 4.5, y)
    ax = np.abs(v[:, 0])
    outer = np.maximum(ax - 4.5, 0)
    v[:, 0] = np.sign(v[:, 0]) * (ax + outer * 1.15 * w)
    v[:, 1] -= outer * .16 * w
    v[:, 1] -= np.maximum(SHOULDER_Y - 7.5 - v[:, 1], 0) * 1.1
    v[:, 0] *= 1 + .055 * np.minimum(np.maximum(SHOULDER_Y - 5.5 - v[:, 1], 0), 9)
    return v


REST = stylise(BASE)
EYE_L, EYE_RADIUS = fit_sphere(REST[EYEBALL_L])
EYE_R, _ = fit_sphere(REST[EYEBALL_R])
MOUTH = .5 * (landmark(REST, LIP_TOP_INNER) + landmark(REST, LIP_LOW_INNER))
HEAD_CENTRE = np.array([0, EYE_L[1] + 2.6, EYE_L[2] - 6.5])
NECK_PIVOT = np.array([0, landmark(REST, CHIN)[1] - 1.5, HEAD_CENTRE[2] - 1.0])
POSE_KEYS = ('yaw', 'pitch', 'roll', 'breath', 'gaze_x', 'gaze_y')
TONGUE_KEYS = ('tongueUp', 'tongueOut')


def expression(params):
    """Vertices for blend-shape weights (ARKit-like names without _L/_R move both sides), before the head pose."""
    v = BASE.copy()
    for key, amount in params.items():
        if key in POSE_KEYS or key in TONGUE_KEYS or not amount:
            continue
        for name in ([key] if key in SHAPE_INDEX else [key + '_L', key + '_R']):
            v += amount * HEAD_SCALE * SHAPES[SHAPE_INDEX[name]]
    v = stylise(v)
    up, out = params.get('tongueUp', 0), params.get('tongueOut', 0)
    if up or out:
        r = REST[TONGUE_V]
        w = (1 - smoothstep(1.0, 1.75, np.abs(r[:, 0]))) * smoothstep(4.5, 9.3, r[:, 2])
        w *= smoothstep(-4.55, -4.1, r[:, 1]) * (1 - smoothstep(-2.6, -2.2, r[:, 1]))
        w *= np.where((r[:, 2] > 10.2) & (r[:, 1] < -3.75), 0, 1)
        v[TONGUE_V] += w[:, None] * np.array([0, up, out])
    return v


def head_pose(points, params):
    """Turns the head (degrees), fading down the neck; breath lifts the shoulders."""
    w = smoothstep(SHOULDER_Y - 3.0, SHOULDER_Y + 3.5, points[..., 1])
    yaw, pitch, roll = (math.radians(params.get(k, 0)) * w for k in ('yaw', 'pitch', 'roll'))
    breath = params.get('breath', 0)
    x, y, z = np.moveaxis(points - NECK_PIVOT, -1, 0)
    x, z = x * np.cos(yaw) + z * np.sin(yaw), -x * np.sin(yaw) + z * np.cos(yaw)
    y, z = y * np.cos(pitch) - z * np.sin(pitch), y * np.sin(pitch) + z * np.cos(pitch)
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
    out = np.stack([x, y, z], -1) + NECK_PIVOT
    out[..., 1] += breath * .18 * (1 - .55 * w)
    out[..., 2] += breath * .12 * (1 - w)
    return out


def vertex_normals(verts, faces):
    n = np.zeros_like(verts)
    a, b, c = (verts[faces[:, k]] for k in range(3))
    face_n = np.cross(b - a, c - a)
    quad = faces[:, 3] >= 0
    for k in range(3):
        np.add.at(n, faces[:, k], face_n)
    np.add.at(n, faces[quad, 3], face_n[quad])
    return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9)


SKIN_FACES = FACES[np.isin(FACE_PART, [0, 1])]
SKIN_FACES = SKIN_FACES[SKIN_FACES[:, 0] < BUST_END]
NORMALS = vertex_normals(REST, SKIN_FACES)


# ---- colours and masks, one value per vertex ----
def linear(c):
    c = np.asarray(c, float)
    return np.where(c <= .04045, c / 12.92, ((c + .055) / 1.055) ** 2.4)


def colour(hexcode):
    return linear([int(hexcode[i:i + 2], 16) / 255 for i in (0, 2, 4)])


def _signed_distance(points, poly):
    """Distance to a closed polygon, positive inside."""
    nxt, dist, inside = np.roll(poly, -1, 0), np.full(len(points), 1e9), np.zeros(len(points), bool)
    for a, b in zip(poly, nxt):
        e, v = b - a, points - a
        t = np.clip((v @ e) / (e @ e), 0, 1)
        dist = np.minimum(dist, np.linalg.norm(v - t[:, None] * e, axis=1))
        if abs(e[1]) > 1e-9:
            inside ^= ((a[1] > points[:, 1]) != (b[1] > points[:, 1])) & \
                (points[:, 0] < a[0] + (points[:, 1] - a[1]) * e[0] / e[1])
    return np.where(inside, dist, -dist)


def _closed_spline(p, n=12):
    out = []
    for i in range(len(p)):
        p0, p1, p2, p3 = p[i - 1], p[i], p[(i + 1) % len(p)], p[(i + 2) % len(p)]
        for t in np.linspace(0, 1, n, endpoint=False):
            out.append(.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t * t
                             + (3 * p1 - p0 - 3 * p2 + p3) * t ** 3))
    return np.array(out)


def _blob(c, rx, ry, rz=3.0):
    d = REST - c
    return np.exp(-((d[:, 0] / rx) ** 2 + (d[:, 1] / ry) ** 2 + (d[:, 2] / rz) ** 2))


def above_hairline(points):
    """Degrees above the hairline (negative = skin)."""
    d = points - HEAD_CENTRE
    azimuth = np.degrees(np.arctan2(np.abs(d[:, 0]), d[:, 2]))
    elevation = np.degrees(np.arctan2(d[:, 1], np.hypot(d[:, 0], d[:, 2])))
    line = np.interp(azimuth, [0, 20, 38, 52, 62, 74, 84, 95, 108, 125, 150, 180],
                     [27.5, 27.5, 26, 20, 11, 0, -5, -9, -22, -34, -38, -40])
    return elevation - line


def _masks_and_colours():
    n = len(REST)
    face = np.zeros(n, bool)
    face[FACE_V] = True
    lips = _signed_distance(REST[:, :2], _closed_spline(REST[LANDMARKS[48:60]][:, :2]))
    lips = smoothstep(-.06, .10, lips) * face * smoothstep(4, 6, REST[:, 2])
    socket = np.zeros(n)
    socket[SOCKET_V] = 1
    lift = np.array([0, .6, 0])
    cheeks = [landmark(REST, a) * .42 + landmark(REST, b) * .58 + lift for a, b in ((2, 31), (14, 35))]
    blush = sum(_blob(c, 1.9, 1.5) for c in cheeks) * .85
    blush += _blob(landmark(REST, NOSE_TIP), 1.0, .9) * .55 + _blob(landmark(REST, CHIN), 1.6, 1.0) * .25
    nostrils = sum(_blob(landmark(REST, k) + np.array([0, .05, -.5]), .35, .25, .6) for k in (32, 34))
    lids, liner = np.zeros(n), np.zeros(n)
    for c in (EYE_L, EYE_R):
        d = REST - c
        r = np.sqrt((d[:, 0] / 1.55) ** 2 + ((d[:, 1] - .15) / .95) ** 2)
        lids += (1 - smoothstep(.6, 1.35, r)) * (REST[:, 2] > c[2])
        near = 1 - smoothstep(EYE_RADIUS * 1.02, EYE_RADIUS * 1.16, np.linalg.norm(d, axis=1))
        liner += near * (REST[:, 2] > c[2] + .3) * (.28 + .72 * smoothstep(-.15, .35, d[:, 1]))
    scalp = smoothstep(.5, 8.0, above_hairline(REST)) * (np.arange(n) < BUST_END) * (REST[:, 1] > HEAD_CENTRE[1] - 7)

    rgb = np.tile(colour('E3B597'), (n, 1))
    for tint, weight in (('D98A74', np.clip(blush * .80, 0, 1)), ('C08A74', np.clip(lids * .55, 0, 1)),
                         ('B9635C', lips * .92), ('5a2a22', np.clip(nostrils, 0, 1) * .6 * face),
                         ('8e3a36', socket), ('3a2018', np.clip(liner * face * .7, 0, 1)), ('4a2d1e', scalp * .75)):
        rgb = rgb * (1 - weight[:, None]) + colour(tint) * weight[:, None]
    return rgb, lips, socket, blush


SKIN_RGB, LIP_MASK, SOCKET_MASK, BLUSH_MASK = _masks_and_colours()
IS_SCALP = np.zeros(len(REST), bool)
IS_SCALP[:SCALP_V.stop] = True
