// @ts-check
/**
 * What of somebody's text may become an address, and what its character references stand for. Pure.
 */

const PROTOCOLS = new Set(["http:", "https:", "mailto:"]);
const LONGEST_HREF = 2000;

const REFERENCE = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w{2,8}));/g;
/** The names that people and models write; any other stays as it stands. */
const NAMES = new Map(
  Object.entries({
    ...{ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", ensp: "\u2002", emsp: "\u2003" },
    ...{ hellip: "…", mdash: "—", ndash: "–", lsquo: "‘", rsquo: "’", ldquo: "“", rdquo: "”" },
    ...{ laquo: "«", raquo: "»", copy: "©", reg: "®", trade: "™", deg: "°", sect: "§", para: "¶" },
    ...{ bull: "•", middot: "·", euro: "€", pound: "£", times: "×", divide: "÷", plusmn: "±", minus: "−" },
    ...{ le: "≤", ge: "≥", ne: "≠", asymp: "≈", infin: "∞" },
    ...{ larr: "←", rarr: "→", uarr: "↑", darr: "↓", harr: "↔" },
  }),
);

/**
 * Return the address of a link that may be followed; empty for anything else, a relative one and one with a password
 * included: it would lead into this server, or seem to lead elsewhere than it does.
 * @param {string} href
 * @returns {string}
 */
export function safeHref(href) {
  if (href.length > LONGEST_HREF) return "";
  try {
    const url = new URL(href);
    const isPlain = PROTOCOLS.has(url.protocol) && url.username === "" && url.password === "";
    return isPlain ? url.href : "";
  } catch {
    return "";
  }
}

/**
 * Return a text with its character references resolved: `&amp;` is `&`, and markup that they spell is still text.
 * @param {string} text
 * @returns {string}
 */
export function decoded(text) {
  if (!text.includes("&")) return text;
  return text.replace(REFERENCE, (whole, decimal, hex, name) => {
    if (name !== undefined) return NAMES.get(name) ?? whole;
    const point = decimal === undefined ? Number.parseInt(hex, 16) : Number.parseInt(decimal, 10);
    const isLetter = point > 0 && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
    return isLetter ? String.fromCodePoint(point) : "\ufffd";
  });
}

/**
 * Return a name with the signs in view that would turn round how it reads: `evil\u202Etxt.exe` is no text file.
 * @param {string} name
 * @returns {string}
 */
export function plainName(name) {
  return name.replace(/[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (sign) => {
    return `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/**
 * Return code with the signs in view that would show it in another order than it runs.
 * @param {string} code
 * @returns {string}
 */
export function plainCode(code) {
  return code.replace(/[\u202a-\u202e\u2066-\u2069]/g, plainName);
}

/**
 * Return the text of a link as it may be shown: one that names another place than the link leads to gives way to that.
 * @param {string} text
 * @param {string} href
 * @returns {string}
 */
export function honest(text, href) {
  const plain = plainCode(text);
  const named = /^\s*(?:https?:\/\/|www\.)\S+/i.exec(plain)?.[0].trim();
  return named === undefined || hostOf(named) === hostOf(href) ? plain : href;
}

/** @param {string} address @returns {string} */
function hostOf(address) {
  try {
    return new URL(/^www\./i.test(address) ? `https://${address}` : address).host.replace(/^www\./, "");
  } catch {
    return "";
  }
}
