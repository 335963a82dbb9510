/** The formats of the access log. */

import type { AccessEntry } from "./access_entry.ts";
import { type AccessField, headerOf } from "./access_log_options.ts";
import { CombinedTimestamps, escapeQuoted } from "./text_format.ts";

/** Makes a line, without its end, of an entry. */
export type AccessLineFormat = (entry: AccessEntry, time: string, wallTime: number) => string;

function milliseconds(durationMs: number): number {
  return Math.round(durationMs * 1000) / 1000;
}

/**
 * One line for people and for `grep`:
 * `TIME access METHOD "TARGET" STATUS DURATIONms client=IP server=ADDRESS bytes=N id=ID`, and after that only
 * where there is something to tell `route=NAME`, `pool=NAME`, `attempts=N`, `limited=POLICY`, `would-limit=POLICY` (for
 * each policy on a dry run that would have refused), `error=CODE`, `trace=ID`.
 */
export function formatAccessText(entry: AccessEntry, time: string): string {
  const { route, server, pool, attempts, limitedBy, wouldLimit, error, traceId } = entry;
  let line = textHead(entry, time) + " client=" + word(entry.clientIp) +
    " server=" + (server === null ? "-" : word(server)) + " bytes=" + entry.bytesSent +
    " id=" + word(entry.requestId);
  if (route !== null) line += " route=" + word(route);
  if (pool !== null && pool !== "" && pool !== "default") line += " pool=" + word(pool);
  if (attempts > 1) line += " attempts=" + attempts;
  if (limitedBy !== null) line += " limited=" + word(limitedBy);
  for (const policy of wouldLimit) line += " would-limit=" + word(policy);
  if (error !== null) line += " error=" + word(error);
  if (traceId !== null) line += " trace=" + traceId;
  return line;
}

function textHead({ method, target, status, durationMs }: AccessEntry, time: string): string {
  return time + " access " + word(method) + ' "' + escapeQuoted(target) + '" ' + status + " " +
    milliseconds(durationMs) + "ms";
}

/**
 * One JSON object with always the same members in the same order: `time`, `level`, `kind` (`"access"`), and what
 * {@linkcode AccessField} names. What there is nothing to tell of is `null`; `wouldLimit` is an array of names, `tries` one of
 * `{ pool, server, failure }` where there is more to tell than the server that has responded at the first try, `limits` an object with the decision of each policy.
 *
 * Keeps the text of what hardly differs from one request to the next: putting it together costs as much as all the rest.
 */
export function wholeJsonFormat(): AccessLineFormat {
  const way = new KeptWay();
  return (entry, time) => {
    const { clientIp, peerIp, tries, attempts } = entry;
    const client = escapeQuoted(clientIp);
    const peer = peerIp === clientIp ? client : escapeQuoted(peerIp);
    const plain = attempts === 1 && tries.length === 1 && tries[0]!.failure === null;
    return '{"time":"' + time + '","level":"info","kind":"access","requestId":"' +
      escapeQuoted(entry.requestId) + '","traceId":' + quotedOrNull(entry.traceId) +
      ',"client":"' + client + '","peer":"' + peer +
      '","method":"' + escapeQuoted(entry.method) + '","host":"' + escapeQuoted(entry.host) +
      '","target":"' + escapeQuoted(entry.target) + '","protocol":"' + entry.protocol +
      '","tls":' + quotedOrNull(entry.tlsVersion) + ',"referer":' + quotedOrNull(entry.referer) +
      ',"userAgent":' + quotedOrNull(entry.userAgent) + ',"status":' + entry.status +
      way.of(entry) + milliseconds(entry.durationMs) +
      ',"queueMs":' + milliseconds(entry.queueMs) + ',"connectMs":' + millisecondsOrNull(entry.connectMs) +
      ',"firstByteMs":' + millisecondsOrNull(entry.firstByteMs) + ',"bytes":' + entry.bytesSent +
      ',"bytesReceived":' + entry.bytesReceived + (plain ? ',"attempts":1,"tries":[]' : jsonTries(entry)) +
      jsonEnd(entry);
  };
}

/** Which way requests go. */
class KeptWay {
  #route: string | null = "";
  #server: string | null = null;
  #pool: string | null = null;
  #text = "";

  of(entry: AccessEntry): string {
    const { route, server, pool } = entry;
    if (server !== this.#server || pool !== this.#pool || route !== this.#route) {
      this.#route = route;
      this.#server = server;
      this.#pool = pool;
      this.#text = ',"route":' + quotedOrNull(route) + ',"server":' + quotedOrNull(server) + ',"pool":' +
        quotedOrNull(pool) + ',"durationMs":';
    }
    return this.#text;
  }
}

/** What is the same for most requests: no limit has a word in them, nothing fails, and all of the response leaves. */
const ALL_WELL = ',"limits":{},"limited":null,"wouldLimit":[],"error":null,"end":"complete"}';

function jsonEnd(entry: AccessEntry): string {
  const { limits, limitedBy, wouldLimit, error, end } = entry;
  if (
    limits.length === 0 && limitedBy === null && wouldLimit.length === 0 && error === null &&
    end === "complete"
  ) return ALL_WELL;
  return ',"limits":' + (limits.length === 0 ? "{}" : jsonLimits(entry)) + ',"limited":' +
    quotedOrNull(limitedBy) + ',"wouldLimit":[' + wouldLimit.map(quotedOrNull).join(",") + '],"error":' +
    quotedOrNull(error) + ',"end":' + quotedOrNull(end) + "}";
}

function jsonTries({ attempts, tries }: AccessEntry): string {
  let text = ',"attempts":' + attempts + ',"tries":[';
  for (let i = 0; i < tries.length; i++) {
    const { pool, address, failure } = tries[i]!;
    text += (i === 0 ? '{"pool":"' : ',{"pool":"') + escapeQuoted(pool) + '","server":"' +
      escapeQuoted(address) + '","failure":' + quotedOrNull(failure) + "}";
  }
  return text + "]";
}

function jsonLimits({ limits }: AccessEntry): string {
  let text = "";
  for (const { policy, outcome } of limits) {
    text += (text === "" ? "{" : ",") + quotedOrNull(policy.name) + ':"' + outcome + '"';
  }
  return text + "}";
}

/**
 * The combined format of Apache and nginx: `IP - - [TIME] "METHOD TARGET PROTOCOL" STATUS BYTES "REFERER" "USER-AGENT"`,
 * with what could end a value written as `\xHH`.
 */
export function combinedFormat(): AccessLineFormat {
  const timestamps = new CombinedTimestamps();
  return (entry, _time, wallTime) => {
    const { clientIp, method, target, protocol, status, bytesSent, referer, userAgent } = entry;
    const asked = method === "" ? "-" : `${escapeHex(method)} ${escapeHex(target)} ${protocol}`;
    return (clientIp === "" ? "-" : escapeHex(clientIp)) + " - - [" + timestamps.format(wallTime) + '] "' +
      asked + '" ' + status + " " + bytesSent + ' "' + (referer === null ? "-" : escapeHex(referer)) + '" "' +
      (userAgent === null ? "-" : escapeHex(userAgent)) + '"';
  };
}

/** What readers of this format take for the end of a value, or of the line. */
// deno-lint-ignore no-control-regex
const UNSAFE = /[\x00-\x1f"\\\x7f-\u{10ffff}]/gu;

function escapeHex(text: string): string {
  UNSAFE.lastIndex = 0;
  if (!UNSAFE.test(text)) return text;
  return text.replace(UNSAFE, (character) => {
    const bytes = character < "\u0100" ? [character.charCodeAt(0)] : new TextEncoder().encode(character);
    return Array.from(bytes, (byte) => `\\x${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
  });
}

const VALUES: Readonly<Record<AccessField, (entry: AccessEntry) => unknown>> = {
  requestId: ({ requestId }) => requestId,
  traceId: ({ traceId }) => traceId,
  client: ({ clientIp }) => clientIp,
  peer: ({ peerIp }) => peerIp,
  method: ({ method }) => method,
  host: ({ host }) => host,
  target: ({ target }) => target,
  protocol: ({ protocol }) => protocol,
  tls: ({ tlsVersion }) => tlsVersion,
  referer: ({ referer }) => referer,
  userAgent: ({ userAgent }) => userAgent,
  status: ({ status }) => status,
  route: ({ route }) => route,
  server: ({ server }) => server,
  pool: ({ pool }) => pool,
  durationMs: ({ durationMs }) => milliseconds(durationMs),
  queueMs: ({ queueMs }) => milliseconds(queueMs),
  connectMs: ({ connectMs }) => connectMs === null ? null : milliseconds(connectMs),
  firstByteMs: ({ firstByteMs }) => firstByteMs === null ? null : milliseconds(firstByteMs),
  bytes: ({ bytesSent }) => bytesSent,
  bytesReceived: ({ bytesReceived }) => bytesReceived,
  attempts: ({ attempts }) => attempts,
  tries: ({ tries }) => tries.map(({ pool, address, failure }) => ({ pool, server: address, failure })),
  limits: ({ limits }) => Object.fromEntries(limits.map(({ policy, outcome }) => [policy.name, outcome])),
  limited: ({ limitedBy }) => limitedBy,
  wouldLimit: ({ wouldLimit }) => wouldLimit,
  error: ({ error }) => error,
  end: ({ end }) => end,
};

type Reader = readonly [name: string, read: (entry: AccessEntry) => unknown];

function readersOf(fields: readonly string[]): readonly Reader[] {
  return fields.map((field) => {
    const header = headerOf(field);
    const read = header === null
      ? VALUES[field as AccessField]
      : ({ headers }: AccessEntry) => headers[header] ?? null;
    return [field, read];
  });
}

/** A JSON object with `time`, `level`, `kind` and these fields. */
export function jsonFormat(fields: readonly string[]): AccessLineFormat {
  const readers = readersOf(fields);
  return (entry, time) => {
    let line = '{"time":"' + time + '","level":"info","kind":"access"';
    for (const [name, read] of readers) line += ',"' + escapeQuoted(name) + '":' + json(read(entry));
    return line + "}";
  };
}

/** The head of a line of text and these fields; those that there is nothing to tell of are `-`. */
export function textFormat(fields: readonly string[]): AccessLineFormat {
  const readers = readersOf(fields);
  return (entry, time) => {
    let line = textHead(entry, time);
    for (const [name, read] of readers) {
      const value = read(entry);
      line += ` ${name}=` +
        (value === null ? "-" : word(typeof value === "object" ? JSON.stringify(value) : String(value)));
    }
    return line;
  };
}

function json(value: unknown): string {
  if (typeof value === "string") return quotedOrNull(value);
  if (typeof value !== "object" || value === null) return String(value);
  // Strings in there are names of the configuration.
  return JSON.stringify(value);
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

function millisecondsOrNull(durationMs: number | null): string {
  return durationMs === null ? "null" : String(milliseconds(durationMs));
}
