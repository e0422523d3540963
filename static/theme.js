// @ts-check
/**
 * Light or dark, before the first paint: a classic script, since modules run after it. What was chosen is kept;
 * without a choice the system's own is followed.
 */

(() => {
  try {
    const theme = JSON.parse(localStorage.getItem("sessionstream.theme") ?? "null");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // No storage, or something else in it: the system's.
  }
})();
