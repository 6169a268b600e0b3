"""The lower-face box of a frame."""
CROP_W, CROP_H, CROP_UP = 176, 144, 62         # at 512 px; CROP_UP is the part above the mouth centre


def snap(x, y, size=512):
    """Box x0, y0, x1, y1 around a mouth centre in pixels: always one size, and even, so that 4:2:0 chroma lines up."""
    k = size / 512
    w, h = round(CROP_W * k), round(CROP_H * k)
    x0, y0 = 2 * round((x - w / 2) / 2), 2 * round((y - CROP_UP * k) / 2)
    return [x0, y0, x0 + w, y0 + h]
