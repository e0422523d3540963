// @ts-check
/** The page's own colour, and what can be read on it. */

/** At this luminance black and white can be read equally well, and either well enough. */
const MIDDLE = 0.179;
const NUMBER = "(-?[\\d.]+(?:e-?\\d+)?)%?";
const MIXED = new RegExp(`^color\\(srgb ${NUMBER} ${NUMBER} ${NUMBER}`);
const PLAIN = new RegExp(`^rgba?\\(${NUMBER}, ?${NUMBER}, ?${NUMBER}`);

/**
 * Return a colour in plain terms, with nothing shining through, and black or white: what can be read on it.
 * @param {string} named any that CSS knows
 * @param {HTMLElement} probe an element in the page, which is left as it was
 * @returns {{ color: string, ink: string } | null} null if this browser does not say
 */
export function plain(named, probe) {
  const { style } = probe;
  style.backgroundColor = named;
  // Mixed with itself any colour is told in one way; where nothing can be mixed, it stays as it is.
  style.backgroundColor = `color-mix(in srgb, ${named}, ${named})`;
  const told = getComputedStyle(probe).backgroundColor;
  style.backgroundColor = "";
  const mixed = MIXED.exec(told);
  const found = mixed ?? PLAIN.exec(told);
  if (!found) return null;
  const scale = mixed ? 1 : 255;
  const [r, g, b] = [share(found[1], scale), share(found[2], scale), share(found[3], scale)];
  const luminance = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const color = `rgb(${Math.round(r * 255)}, ${Math.round(g * 255)}, ${Math.round(b * 255)})`;
  return { color, ink: luminance > MIDDLE ? "#000" : "#fff" };
}

/** @param {string | undefined} text @param {number} scale @returns {number} from 0 to 1 */
function share(text, scale) {
  return Math.min(1, Math.max(0, Number(text) / scale));
}

/** @param {number} part @returns {number} */
function linear(part) {
  return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
}
