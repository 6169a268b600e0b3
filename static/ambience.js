// The light around the stage is taken from the poster: the hues of its left and right edges.

export function lightFrom(image, element) {
  const canvas = document.createElement("canvas");
  canvas.width = 8;
  canvas.height = 2;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  for (const [side, x] of [["left", 0], ["right", canvas.width - 1]]) {
    element.style.setProperty(`--light-${side}`, hue(context.getImageData(x, 0, 1, 1).data).toFixed());
  }
}

// Degrees on the HSL circle; r, g, b are 0..255.
function hue([r, g, b]) {
  const most = Math.max(r, g, b);
  const span = most - Math.min(r, g, b) || 1;
  if (most === r) return (60 * ((g - b) / span) + 360) % 360;
  return most === g ? 60 * ((b - r) / span) + 120 : 60 * ((r - g) / span) + 240;
}
