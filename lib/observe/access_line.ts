/** The access log's two formats. */

import type { AccessEntry } from "./access_entry.ts";
import { escapeQuoted } from "./escape_text.ts";

/** Makes a line, without its end, of an entry. */
export type AccessLineFormat = (entry: AccessEntry, time: string) => string;

function milliseconds(durationMs: number): number {
  return Math.round(durationMs * 1000) / 1000;
}

/**
 * One line for people and for `grep`:
 * `TIME access METHOD "TARGET" STATUS DURATIONms client=IP server=ADDRESS bytes=N id=ID`, and after that only
 * where there is something to tell `route=NAME`, `pool=NAME`, `attempts=N`, `limited=POLICY`, `would-limit=POLICY` (for
 * each policy on a dry run that would have refused), `error=CODE`.
 */
export function formatAccessText(entry: AccessEntry, time: string): string {
  const { route, server, pool, attempts, limitedBy, wouldLimit, error } = entry;
  let line = time + " access " + word(entry.method) + ' "' + escapeQuoted(entry.target) + '" ' +
    entry.status + " " + milliseconds(entry.durationMs) + "ms client=" + word(entry.clientIp) +
    " server=" + (server === null ? "-" : word(server)) + " bytes=" + entry.bytesSent +
    " id=" + word(entry.requestId);
  if (route !== null) line += " route=" + word(route);
  if (pool !== null && pool !== "" && pool !== "default") line += " pool=" + word(pool);
  if (attempts > 1) line += " attempts=" + attempts;
  if (limitedBy !== null) line += " limited=" + word(limitedBy);
  for (const policy of wouldLimit) line += " would-limit=" + word(policy);
  if (error !== null) line += " error=" + word(error);
  return line;
}

/**
 * One JSON object with always the same members in the same order: `time`, `level`, `kind` (`"access"`), `requestId`,
 * `client`, `method`, `target`, `status`, `route`, `server`, `pool`, `durationMs`, `bytes`, `attempts`, `limited`,
 * `wouldLimit`, `error`. `route`, `server`, `pool`, `limited` and `error` are `null` where there is nothing to tell;
 * `wouldLimit` is an array of names.
 */
export function formatAccessJson(entry: AccessEntry, time: string): string {
  const { route, server, pool, limitedBy, wouldLimit, error } = entry;
  return '{"time":"' + time + '","level":"info","kind":"access","requestId":"' +
    escapeQuoted(entry.requestId) +
    '","client":"' + escapeQuoted(entry.clientIp) + '","method":"' + escapeQuoted(entry.method) +
    '","target":"' + escapeQuoted(entry.target) + '","status":' + entry.status +
    ',"route":' + quotedOrNull(route) + ',"server":' + quotedOrNull(server) + ',"pool":' +
    quotedOrNull(pool) +
    ',"durationMs":' + milliseconds(entry.durationMs) + ',"bytes":' + entry.bytesSent +
    ',"attempts":' + entry.attempts + ',"limited":' + quotedOrNull(limitedBy) +
    ',"wouldLimit":' + (wouldLimit.length === 0 ? "[]" : "[" + wouldLimit.map(quotedOrNull).join(",") + "]") +
    ',"error":' + quotedOrNull(error) + "}";
}

/** A value that a space ends: in quotes where it has one. */
function word(text: string): string {
  const escaped = escapeQuoted(text);
  if (escaped === "") return "-";
  return escaped.includes(" ") || escaped !== text ? `"${escaped}"` : escaped;
}

function quotedOrNull(text: string | null): string {
  return text === null ? "null" : '"' + escapeQuoted(text) + '"';
}
