// @ts-check
/** What the page's menus offer. */

import { exportUrl } from "./api.js";
import { openHelp } from "./keys.js";
import { setTheme, theme } from "./shell.js";

/** @typedef {import("./client/types.js").Session} Session */
/** @typedef {import("./menu.js").MenuItem} MenuItem */

const THEMES = /** @type {const} */ ([["", "Like the system"], ["light", "Light"], ["dark", "Dark"]]);

/**
 * Return what can be done to a chat.
 * @param {Session} session
 * @param {{ onRename: () => void, onDelete: () => void }} listeners
 * @returns {MenuItem[]}
 */
export function chatMenu({ session_id }, { onRename, onDelete }) {
  return [
    { label: "Rename", icon: "pencil", onSelect: onRename },
    { label: "Export as Markdown", icon: "download", href: exportUrl(session_id, "markdown") },
    { label: "Export as JSON", icon: "download", href: exportUrl(session_id, "json") },
    "line",
    { label: "Delete", icon: "trash", danger: true, onSelect: onDelete },
  ];
}

/**
 * Return what can be set for the page as a whole.
 * @param {{ onImport: () => void }} listeners
 * @returns {MenuItem[]}
 */
export function settingsMenu({ onImport }) {
  const shown = theme();
  return [
    { label: "Import a chat …", icon: "upload", onSelect: onImport },
    { label: "Statistics", icon: "chart", href: "stats", onSelect: () => undefined },
    { label: "Keyboard shortcuts", icon: "key", onSelect: openHelp },
    "line",
    { heading: "Appearance" },
    ...THEMES.map(([name, label]) => ({ label, checked: shown === name, onSelect: () => setTheme(name) })),
  ];
}
