// @ts-check
/**
 * How smooth the page runs: it notes its own long tasks, those that held up a frame for 50 ms or more. For who wants to
 * know, `(await import("/static/pace.js")).pace` in the console tells.
 */

export const pace = { longTasks: 0, longestMs: 0 };

/** Begin to note. Browsers that do not tell of long tasks (Firefox, Safari) note none. */
export function watchPace() {
  if (!PerformanceObserver.supportedEntryTypes.includes("longtask")) return;
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      pace.longTasks += 1;
      pace.longestMs = Math.max(pace.longestMs, duration);
    }
  });
  observer.observe({ type: "longtask", buffered: true });
}
