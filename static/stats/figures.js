// @ts-check
/**
 * What the page shows, worked out of what `GET /api/stats?series=true` answers. Pure.
 */

/**
 * @typedef {object} Columns steps of time as lists of one length, oldest first; the last is not over yet
 * @property {number} step_seconds
 * @property {number} start when the first step began, in seconds since the epoch
 * @property {number} until when the answer was made
 * @property {number[]} started
 * @property {number[]} finished
 * @property {number[]} interrupted
 * @property {number[]} failed
 * @property {number[]} tokens
 * @property {number[]} created
 * @property {number[]} expired
 * @property {number[]} deleted
 * @property {(number | null)[]} first_token_p50_ms
 * @property {(number | null)[]} first_token_p95_ms
 */

/** @typedef {{ last_hour: number, last_day: number }} Rates */

/**
 * @typedef {object} Stats
 * @property {"all" | "user"} scope
 * @property {string} user_id
 * @property {{ active: number, ended: number, total: number, by_user: Record<string, number> }} sessions
 * @property {number} runs
 * @property {number} messages
 * @property {number} active_runs
 * @property {number} open_streams
 * @property {number} average_messages_per_session
 * @property {number} average_duration_seconds
 * @property {Rates} created
 * @property {Rates} expired
 * @property {Record<string, number>} by_agent
 * @property {Record<string, number>} by_site
 * @property {{ recent: Columns, day: Columns }} series
 */

/** @typedef {{ name: string, colour: string, values: (number | null)[], isBelow: boolean }} Line `isBelow` nought */
/** @typedef {{ id: string, title: string, kind: "line" | "bars", unit: Unit, lines: Line[] }} Chart */
/** @typedef {"per second" | "count" | "ms"} Unit */
/** @typedef {{ id: string, name: string, value: string, note: string }} Tile */

const MOST_SHARES = 8;

/**
 * Return when each step began, in seconds since the epoch.
 * @param {Columns} columns
 * @returns {number[]}
 */
export function timesOf({ start, step_seconds: step, started }) {
  return started.map((_, index) => start + index * step);
}

/**
 * Return a column as so much a second; the step that is not over counts as long as it has lasted, once that tells much.
 * @param {Columns} columns
 * @param {number[]} values
 * @returns {(number | null)[]}
 */
export function perSecond({ start, step_seconds: step, until }, values) {
  return values.map((value, index) => {
    const lasted = Math.min(step, until - (start + index * step));
    return lasted < Math.max(2, step / 10) ? null : value / lasted;
  });
}

/**
 * Return what each chart shows of a range of time.
 * @param {Columns} columns
 * @returns {Chart[]}
 */
export function chartsOf(columns) {
  return [
    {
      ...{ id: "tokens", title: "Tokens per second", kind: "line", unit: "per second" },
      lines: [line("Tokens", "one", perSecond(columns, columns.tokens))],
    },
    {
      ...{ id: "wait", title: "Time to first token", kind: "line", unit: "ms" },
      lines: [
        line("Median", "one", columns.first_token_p50_ms),
        line("95th percentile", "two", columns.first_token_p95_ms),
      ],
    },
    {
      ...{ id: "runs", title: "Runs", kind: "bars", unit: "count" },
      lines: [
        line("Finished", "one", columns.finished),
        line("Stopped", "two", columns.interrupted),
        line("Failed", "bad", columns.failed),
      ],
    },
    {
      ...{ id: "sessions", title: "Sessions", kind: "bars", unit: "count" },
      lines: [
        line("Created", "one", columns.created),
        line("Expired", "two", columns.expired, true),
        line("Deleted", "three", columns.deleted, true),
      ],
    },
  ];
}

/**
 * @param {string} name
 * @param {string} colour
 * @param {(number | null)[]} values
 * @param {boolean} [isBelow]
 * @returns {Line}
 */
function line(name, colour, values, isBelow = false) {
  return { name, colour, values, isBelow };
}

/**
 * Return the numbers at the top.
 * @param {Stats} stats
 * @returns {Tile[]}
 */
export function tilesOf(stats) {
  const { sessions, series } = stats;
  const rate = lastOf(perSecond(series.recent, series.recent.tokens)) ?? 0;
  const wait = middleOf(series.recent.first_token_p50_ms) ?? middleOf(series.day.first_token_p50_ms);
  const lately = (/** @type {Rates} */ { last_hour: hour }) => `${count(hour)} in the last hour`;
  const length = duration(stats.average_duration_seconds);
  const each = stats.average_messages_per_session.toLocaleString("en", { maximumFractionDigits: 1 });
  return [
    {
      ...{ id: "active", name: "Sessions", value: count(sessions.active) },
      note: `${count(sessions.total)} ever, ${length} long`,
    },
    { id: "runs", name: "Running now", value: count(stats.active_runs), note: `${count(stats.runs)} runs ever` },
    { id: "streams", name: "Open streams", value: count(stats.open_streams), note: "clients that listen" },
    { id: "rate", name: "Tokens per second", value: inUnit(rate, "per second"), note: "in the last seconds" },
    {
      ...{ id: "wait", name: "Time to first token", value: wait === null ? "–" : inUnit(wait, "ms") },
      note: wait === null ? "no run lately" : "median",
    },
    { id: "messages", name: "Messages", value: count(stats.messages), note: `${each} a session` },
    { id: "created", name: "Created in a day", value: count(stats.created.last_day), note: lately(stats.created) },
    { id: "expired", name: "Expired in a day", value: count(stats.expired.last_day), note: lately(stats.expired) },
  ];
}

/**
 * Return the largest shares, and what the others come to together.
 * @param {Record<string, number>} counts
 * @returns {{ name: string, value: number }[]}
 */
export function sharesOf(counts) {
  const all = Object.entries(counts)
    .map(([name, value]) => ({ name, value }))
    .sort((a, b) => b.value - a.value || a.name.localeCompare(b.name));
  if (all.length <= MOST_SHARES) return all;
  const others = all.slice(MOST_SHARES - 1);
  const value = others.reduce((sum, one) => sum + one.value, 0);
  return [...all.slice(0, MOST_SHARES - 1), { name: `${others.length} others`, value }];
}

/**
 * Say in words what a chart shows, for those who do not see it.
 * @param {Chart} chart
 * @returns {string}
 */
export function inWords({ title, unit, lines }) {
  const parts = lines.map(({ name, values }) => {
    const known = values.filter((value) => value !== null);
    if (known.every((value) => value === 0)) return `${name}: none`;
    const most = inUnit(Math.max(...known), unit);
    if (unit === "count") return `${name}: ${count(known.reduce((sum, value) => sum + value, 0))}`;
    return `${name}: last ${inUnit(/** @type {number} */ (known.at(-1)), unit)}, at most ${most}`;
  });
  return `${title}. ${parts.join(". ")}.`;
}

/**
 * Return the steps in which anything happened, newest first, as a table shows them.
 * @param {Columns} columns
 * @param {Chart} chart
 * @returns {{ at: number, values: string[] }[]}
 */
export function rowsOf(columns, { lines, unit }) {
  const times = timesOf(columns);
  const rows = times.map((at, index) => ({ at, values: lines.map(({ values }) => values[index] ?? null) }));
  return rows
    .filter(({ values }) => values.some((value) => value))
    .reverse()
    .map(({ at, values }) => ({ at, values: values.map((value) => (value === null ? "–" : inUnit(value, unit))) }));
}

/**
 * @param {number} value
 * @param {Unit} unit
 * @returns {string}
 */
export function inUnit(value, unit) {
  if (unit === "count") return count(value);
  if (unit === "per second") return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
  if (value < 1000) return `${Math.round(value)} ms`;
  return `${(value / 1000).toLocaleString("en", { maximumFractionDigits: 1 })} s`;
}

/** @param {number} value @returns {string} */
function count(value) {
  return Math.round(value).toLocaleString("en");
}

/**
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** @param {(number | null)[]} values @returns {number | null} */
function lastOf(values) {
  return values.findLast((value) => value !== null) ?? null;
}

/** @param {(number | null)[]} values @returns {number | null} */
function middleOf(values) {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  return known[Math.floor(known.length / 2)] ?? null;
}
