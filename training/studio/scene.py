"""The Blender Cycles scene: materials, eyes, clothes, lights, camera, and Avatar.render(params, path)."""
import math
import time

import bpy
import numpy as np
from mathutils import Vector

import groom
import rig
from rig import HEAD_CENTRE, REST, SHOULDER_Y, colour

SCALE = 0.1
IRIS_RADIUS = .83
CAMERA_AT, CAMERA_TO, LENS, SENSOR = (0, -13.5, .25), (0, -.4, -.06), 124, 36


def to_blender(v):
    v = np.asarray(v)
    return np.stack([v[..., 0], -v[..., 2], v[..., 1]], -1) * SCALE


def flat(v):
    return np.ascontiguousarray(v, np.float32).ravel()


def project(points, size=512):
    """Rig points to pixels (x right, y down) of a size x size frame."""
    eye, target = np.array(CAMERA_AT, float), np.array(CAMERA_TO, float)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    d = to_blender(points) - eye
    k = LENS / SENSOR * size / (d @ forward)
    return np.stack([size / 2 + d @ right * k, size / 2 - d @ np.cross(right, forward) * k], -1)


# ---- Blender basics ----
def new_scene(samples, size, threads):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    sc = bpy.context.scene
    sc.render.engine = 'CYCLES'
    c = sc.cycles
    c.device, c.samples, c.use_denoising, c.denoiser = 'CPU', samples, True, 'OPENIMAGEDENOISE'
    c.denoising_quality = 'BALANCED'           # 2 s less per 512 px frame than 'HIGH'
    c.use_adaptive_sampling, c.adaptive_threshold = True, .02
    c.max_bounces, c.diffuse_bounces, c.glossy_bounces, c.transmission_bounces = 6, 2, 2, 3
    c.transparent_max_bounces, c.sample_clamp_indirect = 40, 4
    c.caustics_reflective = c.caustics_refractive = False
    sc.cycles_curves.shape = 'RIBBONS'
    r = sc.render
    r.resolution_x = r.resolution_y = size
    r.use_persistent_data, r.film_transparent = True, True
    r.threads_mode, r.threads = 'FIXED', threads
    r.image_settings.file_format, r.image_settings.color_mode = 'PNG', 'RGBA'
    sc.view_settings.view_transform, sc.view_settings.look = 'AgX', 'AgX - Medium High Contrast'
    sc.view_settings.exposure = .28
    return sc


def add(name, data):
    ob = bpy.data.objects.new(name, data)
    bpy.context.collection.objects.link(ob)
    return ob


def add_mesh(name, verts, faces):
    me = bpy.data.meshes.new(name)
    me.from_pydata([tuple(v) for v in verts], [], [tuple(int(i) for i in f if i >= 0) for f in faces])
    me.shade_smooth()
    return add(name, me)


def submesh(face_mask):
    faces = rig.FACES[face_mask]
    used = np.unique(faces[faces >= 0])
    remap = -np.ones(len(REST) + 1, int)
    remap[used] = np.arange(len(used))
    return used, np.where(faces >= 0, remap[faces], -1)


def move_verts(ob, v):
    ob.data.vertices.foreach_set('co', flat(to_blender(v)))
    ob.data.update()


def set_attribute(mesh, name, kind, values):
    color = kind == 'FLOAT_COLOR'
    a = (mesh.color_attributes if color else mesh.attributes).new(name, kind, 'POINT')
    a.data.foreach_set('color' if color else 'vector' if kind == 'FLOAT_VECTOR' else 'value', flat(values))


def subdivide(ob):
    ob.modifiers.new('subdivision', 'SUBSURF').render_levels = 1


def aim(ob, at, to):
    ob.location = at
    ob.rotation_euler = (Vector(to) - Vector(at)).to_track_quat('-Z', 'Y').to_euler()


def area_light(name, at, to, size, energy, rgb):
    light = bpy.data.lights.new(name, 'AREA')
    light.energy, light.color, light.size = energy, rgb, size
    ob = add(name, light)
    aim(ob, at, to)
    return ob


def add_curves(name, points, thickness, material):
    n, m, _ = points.shape
    c = bpy.data.hair_curves.new(name)
    c.add_curves([m] * n)
    ob = add(name, c)
    c.attributes['position'].data.foreach_set('vector', flat(to_blender(points)))
    if 'radius' not in c.attributes:
        c.attributes.new('radius', 'FLOAT', 'POINT')
    c.attributes['radius'].data.foreach_set('value', flat(np.broadcast_to(thickness, (n, m)) * SCALE))
    c.materials.append(material)
    return ob


def move_curves(ob, points):
    ob.data.attributes['position'].data.foreach_set('vector', flat(to_blender(points)))
    ob.data.update_tag()


# ---- materials ----
class Nodes:
    """Short notation to wire shader nodes: every method returns an output socket."""

    def __init__(self, material):
        material.use_nodes = True
        self.tree = material.node_tree
        self.bsdf = self.tree.nodes.get('Principled BSDF')

    def add(self, kind, inputs=None, **settings):
        node = self.tree.nodes.new('ShaderNode' + kind)
        for k, v in settings.items():
            setattr(node, k, v)
        for k, v in (inputs or {}).items():
            self.set(node.inputs[k], v)
        return node

    def set(self, socket, value):
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        elif isinstance(value, tuple) and len(value) == 3 and len(getattr(socket, 'default_value', ())) == 4:
            socket.default_value = (*value, 1)
        else:
            socket.default_value = value

    def principled(self, **inputs):
        for k, v in inputs.items():
            self.set(self.bsdf.inputs[k.replace('_', ' ')], v)

    def math(self, op, *args):
        return self.add('Math', dict(enumerate(args)), operation=op).outputs[0]

    def mix(self, factor, a, b, blend='MIX'):
        return self.add('MixRGB', {0: factor, 1: a, 2: b}, blend_type=blend).outputs[0]

    def smooth(self, a, b, x):
        return self.add('MapRange', {1: a, 2: b, 0: x}, interpolation_type='SMOOTHSTEP').outputs[0]

    def attribute(self, name, output='Vector'):
        return self.add('Attribute', attribute_name=name).outputs[output]

    def noise(self, vector, scale, detail=2.0):
        return self.add('TexNoise', {'Vector': vector, 'Scale': scale, 'Detail': detail}).outputs[0]

    def ramp(self, factor, *stops):
        node = self.add('ValToRGB', {0: factor})
        for element, (position, rgb) in zip(node.color_ramp.elements, stops):
            element.position, element.color = position, (*rgb, 1)
        return node.outputs[0]

    def bump(self, height, strength, distance):
        return self.add('Bump', {'Strength': strength, 'Distance': distance, 'Height': height}).outputs[0]

    def surface(self, shader):
        out = self.tree.nodes.get('Material Output') or self.add('OutputMaterial')
        self.tree.links.new(shader, out.inputs[0])


def material(name, **inputs):
    m = bpy.data.materials.new(name)
    n = Nodes(m)
    n.principled(**inputs)
    return m, n


def skin_material():
    m, n = material('skin', Subsurface_Weight=.75, Subsurface_Radius=(1, .35, .2), Subsurface_Scale=.035,
                    Specular_IOR_Level=.42)
    rest = n.attribute('rest')
    mask = n.add('SeparateColor', {0: n.attribute('mask', 'Color')}).outputs      # lips, mouth socket, blush
    mottled = n.ramp(n.noise(rest, 2.2, 4.0), (0, (.93, .90, .89)), (1, (1.05, 1.05, 1.05)))
    pores, creases = n.noise(rest, 45.0), n.noise(n.add('Mapping', {0: rest, 'Scale': (55, 6, 6)}).outputs[0], 1.0)
    fine = n.add('Mix', {0: mask[0], 2: pores, 3: creases}, data_type='FLOAT').outputs[0]
    n.principled(Base_Color=n.mix(1.0, n.attribute('rgb', 'Color'), mottled, 'MULTIPLY'),
                 Roughness=n.add('MapRange', {0: mask[0], 'To Min': .47, 'To Max': .30}).outputs[0],
                 Normal=n.bump(fine, .10, .02),
                 Emission_Color=tuple(colour('9c3f3a')), Emission_Strength=n.math('MULTIPLY', mask[1], .03))
    return m


def hair_material(name, rgb, roughness):
    m = bpy.data.materials.new(name)
    n = Nodes(m)
    n.tree.nodes.clear()
    vary = n.ramp(n.add('HairInfo').outputs['Random'], (0, [c * .55 for c in rgb]), (1, [min(1, c * 1.7) for c in rgb]))
    n.surface(n.add('BsdfHairPrincipled', {'Color': vary, 'Roughness': roughness, 'Radial Roughness': .4,
                                           'Random Roughness': .2, 'Coat': 0.}, parametrization='COLOR').outputs[0])
    return m


def eye_materials(inner, outer):
    """Eyeball with a procedural iris, and the clear cornea over it (object space, looking along -Y)."""
    ball, n = material('eye', Roughness=.25, Specular_IOR_Level=.2)
    x, y, z = n.add('SeparateXYZ', {0: n.add('TexCoord').outputs['Object']}).outputs
    radius = n.math('SQRT', n.math('ADD', n.math('MULTIPLY', x, x), n.math('MULTIPLY', z, z)))
    r = n.math('DIVIDE', radius, IRIS_RADIUS / rig.EYE_RADIUS)
    angle = n.math('ARCTAN2', x, z)
    polar = n.add('CombineXYZ', {0: n.math('SINE', angle), 1: n.math('COSINE', angle), 2: n.math('MULTIPLY', r, .25)})
    fibres = n.noise(polar.outputs[0], 11.0, 5.0)
    fibres = n.math('ADD', fibres, n.math('MULTIPLY', n.math('SUBTRACT', .65, r), .45))
    iris = n.ramp(fibres, (.3, inner), (.72, outer))
    iris = n.mix(n.smooth(.74, 1.0, r), iris, tuple(c * .12 for c in inner))
    iris = n.mix(n.smooth(.47, .39, r), iris, (.004, .003, .003))
    white = n.mix(n.smooth(1.2, 2.3, r), (.80, .77, .75), (.70, .50, .46))
    is_iris = n.math('MULTIPLY', n.smooth(1.06, .95, r), n.math('LESS_THAN', y, 0.0))
    n.principled(Base_Color=n.mix(is_iris, white, iris), Emission_Color=n.mix(is_iris, (0, 0, 0), iris),
                 Emission_Strength=.12)
    cornea = bpy.data.materials.new('cornea')
    n = Nodes(cornea)
    n.tree.nodes.clear()
    n.surface(n.add('MixShader', {0: n.add('Fresnel', {0: 1.52}).outputs[0], 1: n.add('BsdfTransparent').outputs[0],
                                  2: n.add('BsdfGlossy', {'Roughness': .03}).outputs[0]}).outputs[0])
    return ball, cornea


def cloth_material(name, hexcode, scale, bump, sheen, knit):
    """Cloth that is cut away where the 'cut' attribute is negative."""
    m, n = material(name, Base_Color=(*colour(hexcode), 1), Roughness=.85, Sheen_Weight=sheen, Specular_IOR_Level=.2)
    rest = n.attribute('rest')
    if knit:
        weave = n.add('TexWave', {'Vector': rest, 'Scale': scale, 'Distortion': 1.2, 'Detail': 1.0},
                      bands_direction='X').outputs[1]
    else:
        weave = n.noise(rest, scale)
    n.principled(Normal=n.bump(weave, bump, .03))
    keep = n.math('GREATER_THAN', n.attribute('cut', 'Fac'), 0.0)
    n.surface(n.add('MixShader', {0: keep, 1: n.add('BsdfTransparent').outputs[0], 2: n.bsdf.outputs[0]}).outputs[0])
    return m


# ---- clothes: shells of the bust, cut by smooth functions (positive = cloth) ----
def _clothes_frame(p):
    x, y, z = p.T
    azimuth = np.arctan2(np.abs(x), z - HEAD_CENTRE[2] + 2.5)
    neckline = SHOULDER_Y - 2.5 - 1.9 * np.cos(np.clip(azimuth, 0, np.pi))
    opening = 1.2 + np.maximum(y - (SHOULDER_Y - 12.5), 0) * .40
    return np.abs(x), y, neckline, opening, z < HEAD_CENTRE[2] - 1


def cut_top(p):
    x, y, neckline, opening, back = _clothes_frame(p)
    return np.minimum(neckline - y, 1.5)


def cut_collar(p):
    x, y, neckline, opening, back = _clothes_frame(p)
    return np.minimum(neckline + .05 - y, y - (neckline - .75))


def cut_blazer(p):
    x, y, neckline, opening, back = _clothes_frame(p)
    return np.where(back, SHOULDER_Y + .2 - y, np.minimum(x - opening, SHOULDER_Y + .5 - y))


def cut_lapel(p):
    x, y, neckline, opening, back = _clothes_frame(p)
    width = np.interp(y, SHOULDER_Y - np.array([13, 7, 5.3, 4.5, 1.5]), [.3, 2.5, 3.0, 2.0, 1.6])
    behind = np.minimum(np.minimum(SHOULDER_Y + .1 - y, y - (SHOULDER_Y - 3.4)), 7.0 - x)
    ahead = np.minimum(np.minimum(x - opening + .12, opening + width - x), SHOULDER_Y + .1 - y)
    return np.where(back, behind, ahead)


def add_shell(name, cut, offset, cloth, thickness):
    skin = np.where((rig.FACES[:, 0] < rig.BUST_END) & np.isin(rig.FACE_PART, [0, 1]))[0]
    near = np.where(rig.FACES[skin] >= 0, cut(REST)[rig.FACES[skin]], -9).max(1) > -.6
    used, faces = submesh(np.isin(np.arange(len(rig.FACES)), skin[near]))
    coarse = add_mesh(name, REST[used] + rig.NORMALS[used] * offset, faces)
    coarse.modifiers.new('subdivision', 'SUBSURF').levels = 2
    evaluated = coarse.evaluated_get(bpy.context.evaluated_depsgraph_get())
    me = bpy.data.meshes.new_from_object(evaluated)
    bpy.data.objects.remove(coarse)
    ob = add(name, me)
    fine = np.zeros(len(me.vertices) * 3, np.float32)
    me.vertices.foreach_get('co', fine)
    fine = fine.reshape(-1, 3).astype(float)
    set_attribute(me, 'rest', 'FLOAT_VECTOR', to_blender(fine))
    set_attribute(me, 'cut', 'FLOAT', cut(fine))
    me.materials.append(cloth)
    me.shade_smooth()
    move_verts(ob, fine)
    solid = ob.modifiers.new('thickness', 'SOLIDIFY')
    solid.thickness, solid.offset = thickness * SCALE, 1
    return ob, fine


def add_eye(name, centre, ball, cornea):
    segments = 96
    theta = np.concatenate([np.linspace(0, .62, 40), np.linspace(.64, np.pi, 36)])[:, None]
    phi = (2 * np.pi * np.arange(segments) / segments)[None]
    iris = math.asin(IRIS_RADIUS / rig.EYE_RADIUS)

    def sphere(radius, y):
        return np.stack([radius * np.sin(theta) * np.cos(phi), y + 0 * phi, radius * np.sin(theta) * np.sin(phi)],
                        -1).reshape(-1, 3)

    i, k = np.meshgrid(np.arange(len(theta) - 1), np.arange(segments), indexing='ij')
    a, b = i * segments + k, i * segments + (k + 1) % segments
    faces = np.stack([a, b, b + segments, a + segments], -1).reshape(-1, 4)
    depth = np.where(theta < iris, -np.cos(iris) + (1 - theta / iris) * .035, -np.cos(theta))   # iris set back
    ob = add_mesh(name, sphere(1.0, depth), faces)
    bulge = 1.004 + .055 * np.exp(-(theta / (iris * .85)) ** 2 * 1.4)
    front = add_mesh(name + '_cornea', sphere(bulge, -bulge * np.cos(theta)), faces)
    front.parent = ob
    ob.data.materials.append(ball)
    front.data.materials.append(cornea)
    ob.scale = (rig.EYE_RADIUS * SCALE * .985,) * 3
    return ob, centre


class Avatar:
    def __init__(self, samples=16, size=512, threads=2, cache=rig.FOLDER / 'groom.npz'):
        self.scene, self.size = new_scene(samples, size, threads), size
        g = groom.load(cache)
        self.face_verts, faces = submesh(np.isin(rig.FACE_PART, [0, 1]))
        self.face = add_mesh('face', to_blender(REST[self.face_verts]), faces)
        u, me = self.face_verts, self.face.data
        one, lips = np.ones(len(u)), np.clip(rig.LIP_MASK, 0, 1)[self.face_verts]
        set_attribute(me, 'rgb', 'FLOAT_COLOR', np.c_[rig.SKIN_RGB[u], one])
        set_attribute(me, 'mask', 'FLOAT_COLOR', np.c_[lips, rig.SOCKET_MASK[u], rig.BLUSH_MASK[u] * (1 - lips), one])
        set_attribute(me, 'rest', 'FLOAT_VECTOR', to_blender(REST[u]))
        me.materials.append(skin_material())
        subdivide(self.face)

        self.parts = []
        gum, _ = material('gum', Base_Color=(*colour('C25F58'), 1), Roughness=.25, Subsurface_Weight=.5,
                          Subsurface_Scale=.02, Emission_Color=(*colour('B0524E'), 1), Emission_Strength=.085)
        teeth, _ = material('teeth', Base_Color=(.84, .80, .73, 1), Roughness=.18, Subsurface_Weight=.4,
                            Subsurface_Scale=.012, Emission_Color=(.84, .78, .70, 1), Emission_Strength=.03)
        for part, m in ((2, gum), (3, teeth)):
            used, faces = submesh(rig.FACE_PART == part)
            ob = add_mesh('mouth', to_blender(REST[used]), faces)
            ob.data.materials.append(m)
            subdivide(ob)
            self.parts.append((used, ob))

        eye = eye_materials(tuple(colour('4a3320')), tuple(colour('a8794a')))
        self.eyes = [add_eye(name, c, *eye) for name, c in (('eye_left', rig.EYE_L), ('eye_right', rig.EYE_R))]
        self.hair_rest = g['hair'].astype(float)
        self.hair = add_curves('hair', self.hair_rest, g['thick'], hair_material('hair', colour('3b2314'), .38))
        self.brow_rest, self.brow_carriers = g['brows'], g['brow_carriers']
        self.brows = add_curves('brows', self.brow_rest, np.array([.010, .013, .0115, .008, .0025])[None],
                                hair_material('brow', [.046, .025, .014], .6))
        self.lash_verts, self.lash_weights, self.lash_upper = g['lash_verts'], g['lash_weights'], g['lash_upper']
        self.lashes = add_curves('lashes', self.lash_points(REST), np.array([.030, .030, .025, .019, .012, .004])[None]
                                 * np.where(self.lash_upper, 1, .45)[:, None],
                                 hair_material('lash', [.004, .003, .002], .6))
        self.clothes = [
            add_shell('top', cut_top, .16, cloth_material('top', 'EFE9DF', 38., .22, .3, True), .16),
            add_shell('collar', cut_collar, .30, cloth_material('collar', 'E6DECF', 60., .3, .3, True), .14),
            add_shell('blazer', cut_blazer, .46, cloth_material('blazer', '26405A', 70., .10, .15, False), .2),
            add_shell('lapel', cut_lapel, .74, cloth_material('lapel', '2C4A68', 70., .10, .15, False), .14)]
        self._light()
        camera = bpy.data.cameras.new('camera')
        camera.lens, camera.sensor_width = LENS, SENSOR
        self.scene.camera = add('camera', camera)
        aim(self.scene.camera, CAMERA_AT, CAMERA_TO)

    def _light(self):
        area_light('key', (-3.4, -5.6, 3.2), (0, -.6, .1), 2.2, 285, (1, .955, .90))
        fill = area_light('fill', (4.2, -5.0, .8), (0, -.6, 0), 3.5, 85, (.86, .92, 1))
        area_light('rim_left', (-3.2, 3.2, 2.6), (0, 0, .4), 1.6, 120, (.75, .86, 1))
        area_light('rim_right', (3.4, 2.8, 2.2), (0, 0, .4), 1.6, 140, (1, .86, .70))
        under = area_light('under', (0, -4.0, -3.0), (0, -.5, -.2), 2.2, 26, (1, .9, .84))
        fill.visible_glossy = under.visible_glossy = False
        catch = area_light('catch_light', (-2.3, -11.5, 3.2), (0, -.8, .3), 1.1, 150, (1, .98, .95))
        catch.visible_diffuse = catch.visible_transmission = False
        world = bpy.data.worlds.new('world')
        self.scene.world = world
        world.use_nodes = True
        background = world.node_tree.nodes['Background']
        background.inputs[0].default_value, background.inputs[1].default_value = (.55, .60, .70, 1), .28

    def lash_points(self, verts):
        p = (verts[self.lash_verts] * self.lash_weights[..., None]).sum(2)
        q, up = np.linspace(0, 1, p.shape[1])[None], np.where(self.lash_upper, 1, 0)[:, None]
        eye_x = np.where(p[:, :1, 0] > 0, rig.EYE_L[0], rig.EYE_R[0])
        p = p[:, :1] + (p - p[:, :1]) * .62
        p[..., 1] += up * .22 * q ** 2 - (1 - up) * .08 * q
        p[..., 0] += up * .13 * (p[:, :1, 0] - eye_x) / 1.9 * q ** 1.3
        p[..., 2] += up * .06 * q
        return p

    def set(self, params):
        """Moves everything to the given parameters."""
        unposed = rig.expression(params)
        verts = rig.head_pose(unposed, params)
        move_verts(self.face, verts[self.face_verts])
        for used, ob in self.parts:
            move_verts(ob, verts[used])
        for ob, centre in self.eyes:
            ob.location = to_blender(rig.head_pose(centre[None], params)[0])
            ob.rotation_euler = [math.radians(a) for a in (params.get('pitch', 0) - params.get('gaze_y', 0),
                                                           params.get('roll', 0),
                                                           params.get('yaw', 0) + params.get('gaze_x', 0))]
        for ob, rest in self.clothes:
            move_verts(ob, rig.head_pose(rest, params))
        move_curves(self.hair, rig.head_pose(self.hair_rest, params))
        carried = (unposed - REST)[self.brow_carriers].mean(1)[:, None]
        move_curves(self.brows, rig.head_pose(self.brow_rest + carried, params))
        move_curves(self.lashes, self.lash_points(verts))

    def render(self, params, path, box=None):
        """Renders to a PNG with alpha; box (x0, y0, x1, y1 in pixels, y down) renders only that crop. Seconds taken."""
        start, r = time.time(), self.scene.render
        r.use_border = r.use_crop_to_border = box is not None
        if box is not None:
            x0, y0, x1, y1 = (v / self.size for v in box)
            r.border_min_x, r.border_max_x, r.border_min_y, r.border_max_y = x0, x1, 1 - y1, 1 - y0
        self.set(params)
        r.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        return time.time() - start
