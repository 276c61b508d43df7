// Colours that people with any kind of colour vision can tell apart, on light and on dark.
const CLASSES = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#bfa900", "#8c6bb1", "#8a8a8a", "#a0522d",
];
const SCALES = { // cividis, whose dark end is lighter on dark
  light: ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#e8d13a"],
  dark: ["#3d63b5", "#5a7299", "#7f8790", "#a49c7e", "#cfbe68", "#fee838"],
};

export function classColour(i) {
  if (i < CLASSES.length) return CLASSES[i];
  return `hsl(${(i * 137.5) % 360} 45% ${40 + (i % 3) * 12}%)`;
}

export function scaleColours(theme) {
  return SCALES[theme];
}

export function scaleColour(share, theme) {
  const stops = SCALES[theme], place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(place)), t = place - i;
  const part = (hex, k) => parseInt(hex.slice(1 + 2 * k, 3 + 2 * k), 16);
  const mixed = [0, 1, 2].map((k) => Math.round(part(stops[i], k) * (1 - t) + part(stops[i + 1], k) * t));
  return `rgb(${mixed.join(",")})`;
}
