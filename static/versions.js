// @ts-check
/**
 * Messages that were sent once more, changed or not. The log keeps all of them; their ids tell which stands for which:
 * `<id>.v2` comes in the place of `<id>`. So every tab, reload and export agrees, and the server need not know. Pure.
 */

const VERSIONED = /^(.+)\.v(\d{1,4})$/;

/**
 * Return the id that all versions of a message share, and which one this is.
 * @param {string} id
 * @returns {{ root: string, version: number }}
 */
export function versionOf(id) {
  const match = VERSIONED.exec(id);
  return match ? { root: String(match[1]), version: Number(match[2]) } : { root: id, version: 1 };
}

/**
 * Return the id of the version after this one.
 * @param {string} id
 * @returns {string}
 */
export function nextVersion(id) {
  const { root, version } = versionOf(id);
  return `${root}.v${version + 1}`;
}

/**
 * Return the latest version of each message that has several.
 * @param {Iterable<string>} ids
 * @returns {Map<string, number>} by the id they share
 */
export function latestVersions(ids) {
  /** @type {Map<string, number>} */
  const latest = new Map();
  for (const id of ids) {
    const { root, version } = versionOf(id);
    if (version > 1) latest.set(root, Math.max(version, latest.get(root) ?? 0));
  }
  return latest;
}
