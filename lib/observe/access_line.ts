/** The formats of the access log. */

import type { AccessEntry } from "./access_entry.ts";
import { type AccessField, headerOf } from "./access_log_options.ts";
import { encodeText, type LineBytes, plainBytes, TimestampWriter } from "./line_bytes.ts";

/** What the client has sent as it came, for lines that need no strings of it. */
export interface SentBytes {
  /** Writes the target; `false` when nothing is written, because it is not at hand or has to be changed. */
  writeTarget(out: LineBytes): boolean;
  /** Writes the value of `Referer`; {@linkcode UNKNOWN} when that has to be made of the entry's. */
  writeReferer(out: LineBytes): SentField;
  /** Writes the value of `User-Agent`. */
  writeUserAgent(out: LineBytes): SentField;
}

/** Whether a field was written, is absent, or is not at hand as bytes. */
export type SentField = typeof WRITTEN | typeof ABSENT | typeof UNKNOWN;
export const WRITTEN = 1;
export const ABSENT = 0;
export const UNKNOWN = -1;

/** Writes a line, without its end; `sent` has what of the client's is at hand as it came. */
export type AccessLineFormat = (
  out: LineBytes,
  entry: AccessEntry,
  sent: SentBytes | null,
  wallTime: number,
) => void;

function milliseconds(durationMs: number): number {
  return Math.round(durationMs * 1000) / 1000;
}

const QUOTE = 0x22;
const SPACE = 0x20;
const DASH = 0x2d;
const COMMA = 0x2c;
const COLON = 0x3a;
const CLOSE = 0x7d;

/**
 * One line for people and for `grep`:
 * `TIME access METHOD "TARGET" STATUS DURATIONms client=IP server=ADDRESS bytes=N id=ID`, and after that only
 * where there is something to tell `route=NAME`, `pool=NAME`, `attempts=N`, `limited=POLICY`, `would-limit=POLICY` (for
 * each policy on a dry run that would have refused), `error=CODE`, `trace=ID`.
 */
export function wholeTextFormat(): AccessLineFormat {
  const timestamps = TimestampWriter.rfc3339();
  return (out, entry, sent, wallTime) => {
    const { route, server, pool, attempts, limitedBy, wouldLimit, error, traceId } = entry;
    textHead(out, entry, sent, wallTime, timestamps);
    out.raw(TEXT_CLIENT);
    out.word(entry.clientIp);
    out.raw(TEXT_SERVER);
    out.word(server ?? "");
    out.raw(TEXT_BYTES);
    out.whole(entry.bytesSent);
    out.raw(TEXT_ID);
    out.word(entry.requestId);
    if (route !== null) textWord(out, TEXT_ROUTE, route);
    if (pool !== null && pool !== "" && pool !== "default") textWord(out, TEXT_POOL, pool);
    if (attempts > 1) {
      out.raw(TEXT_ATTEMPTS);
      out.whole(attempts);
    }
    if (limitedBy !== null) textWord(out, TEXT_LIMITED, limitedBy);
    for (const policy of wouldLimit) textWord(out, TEXT_WOULD_LIMIT, policy);
    if (error !== null) textWord(out, TEXT_ERROR, error);
    if (traceId !== null) textWord(out, TEXT_TRACE, traceId);
  };
}

const TEXT_ACCESS = encodeText(" access ");
const TEXT_MS = encodeText("ms");
const TEXT_CLIENT = encodeText(" client=");
const TEXT_SERVER = encodeText(" server=");
const TEXT_BYTES = encodeText(" bytes=");
const TEXT_ID = encodeText(" id=");
const TEXT_ROUTE = encodeText(" route=");
const TEXT_POOL = encodeText(" pool=");
const TEXT_ATTEMPTS = encodeText(" attempts=");
const TEXT_LIMITED = encodeText(" limited=");
const TEXT_WOULD_LIMIT = encodeText(" would-limit=");
const TEXT_ERROR = encodeText(" error=");
const TEXT_TRACE = encodeText(" trace=");

function textWord(out: LineBytes, name: Uint8Array, value: string): void {
  out.raw(name);
  out.word(value);
}

function textHead(
  out: LineBytes,
  entry: AccessEntry,
  sent: SentBytes | null,
  wallTime: number,
  timestamps: TimestampWriter,
): void {
  timestamps.moment(out, wallTime);
  out.raw(TEXT_ACCESS);
  out.word(entry.method);
  out.byte(SPACE);
  quotedTarget(out, entry, sent);
  out.byte(SPACE);
  out.whole(entry.status);
  out.byte(SPACE);
  out.milliseconds(entry.durationMs);
  out.raw(TEXT_MS);
}

function quotedTarget(out: LineBytes, entry: AccessEntry, sent: SentBytes | null): void {
  out.byte(QUOTE);
  if (sent === null || !sent.writeTarget(out)) out.quoted(entry.target);
  out.byte(QUOTE);
}

function quotedReferer(out: LineBytes, entry: AccessEntry, sent: SentBytes | null): void {
  const at = out.length;
  out.byte(QUOTE);
  const field = sent === null ? UNKNOWN : sent.writeReferer(out);
  if (field === WRITTEN) return out.byte(QUOTE);
  out.length = at;
  out.quotedOrNull(field === ABSENT ? null : entry.referer);
}

function quotedUserAgent(out: LineBytes, entry: AccessEntry, sent: SentBytes | null): void {
  const at = out.length;
  out.byte(QUOTE);
  const field = sent === null ? UNKNOWN : sent.writeUserAgent(out);
  if (field === WRITTEN) return out.byte(QUOTE);
  out.length = at;
  out.quotedOrNull(field === ABSENT ? null : entry.userAgent);
}

/**
 * One JSON object with always the same members in the same order: `time`, `level`, `kind` (`"access"`), and what
 * {@linkcode AccessField} names. What there is nothing to tell of is `null`; `wouldLimit` is an array of names, `tries` one of
 * `{ pool, server, failure }` where there is more to tell than the server that has responded at the first try, `limits` an object with the decision of each policy.
 */
export function wholeJsonFormat(): AccessLineFormat {
  const timestamps = TimestampWriter.rfc3339();
  return (out, entry, sent, wallTime) => {
    out.raw(JSON_TIME);
    timestamps.moment(out, wallTime);
    out.raw(JSON_ID);
    out.quoted(entry.requestId);
    out.raw(JSON_TRACE);
    out.quotedOrNull(entry.traceId);
    out.raw(JSON_CLIENT);
    out.quoted(entry.clientIp);
    out.raw(JSON_PEER);
    out.quoted(entry.peerIp);
    out.raw(JSON_METHOD);
    out.quoted(entry.method);
    out.raw(JSON_HOST);
    out.quoted(entry.host);
    out.raw(JSON_TARGET);
    quotedTarget(out, entry, sent);
    out.raw(JSON_PROTOCOL);
    out.quoted(entry.protocol);
    out.raw(JSON_TLS);
    out.quotedOrNull(entry.tlsVersion);
    out.raw(JSON_REFERER);
    quotedReferer(out, entry, sent);
    out.raw(JSON_AGENT);
    quotedUserAgent(out, entry, sent);
    out.raw(JSON_STATUS);
    out.whole(entry.status);
    out.raw(JSON_ROUTE);
    out.quotedOrNull(entry.route);
    out.raw(JSON_SERVER);
    out.quotedOrNull(entry.server);
    out.raw(JSON_POOL);
    out.quotedOrNull(entry.pool);
    out.raw(JSON_DURATION);
    out.milliseconds(entry.durationMs);
    out.raw(JSON_QUEUE);
    out.milliseconds(entry.queueMs);
    out.raw(JSON_CONNECT);
    out.millisecondsOrNull(entry.connectMs);
    out.raw(JSON_FIRST_BYTE);
    out.millisecondsOrNull(entry.firstByteMs);
    out.raw(JSON_BYTES);
    out.whole(entry.bytesSent);
    out.raw(JSON_RECEIVED);
    out.whole(entry.bytesReceived);
    jsonTries(out, entry);
    jsonEnd(out, entry);
  };
}

const JSON_TIME = encodeText('{"time":"');
const JSON_KIND = encodeText('","level":"info","kind":"access"');
const JSON_ID = encodeText('","level":"info","kind":"access","requestId":"');
const JSON_TRACE = encodeText('","traceId":');
const JSON_CLIENT = encodeText(',"client":"');
const JSON_PEER = encodeText('","peer":"');
const JSON_METHOD = encodeText('","method":"');
const JSON_HOST = encodeText('","host":"');
const JSON_TARGET = encodeText('","target":');
const JSON_PROTOCOL = encodeText(',"protocol":"');
const JSON_TLS = encodeText('","tls":');
const JSON_REFERER = encodeText(',"referer":');
const JSON_AGENT = encodeText(',"userAgent":');
const JSON_STATUS = encodeText(',"status":');
const JSON_ROUTE = encodeText(',"route":');
const JSON_SERVER = encodeText(',"server":');
const JSON_POOL = encodeText(',"pool":');
const JSON_DURATION = encodeText(',"durationMs":');
const JSON_QUEUE = encodeText(',"queueMs":');
const JSON_CONNECT = encodeText(',"connectMs":');
const JSON_FIRST_BYTE = encodeText(',"firstByteMs":');
const JSON_BYTES = encodeText(',"bytes":');
const JSON_RECEIVED = encodeText(',"bytesReceived":');
const JSON_FIRST_TRY = encodeText(',"attempts":1,"tries":[],"limits":{');
const JSON_ATTEMPTS = encodeText(',"attempts":');
const JSON_TRIES = encodeText(',"tries":[');
const JSON_TRY = encodeText('{"pool":');
const JSON_FAILURE = encodeText(',"failure":');
const JSON_LIMITS = encodeText('],"limits":{');
/** What is the same for most requests: nothing fails, and all of the response leaves. */
const JSON_ALL_WELL = encodeText('},"limited":null,"wouldLimit":[],"error":null,"end":"complete"}');
const JSON_LIMITED = encodeText('},"limited":');
const JSON_WOULD_LIMIT = encodeText(',"wouldLimit":[');
const JSON_ERROR = encodeText('],"error":');
const JSON_END = encodeText(',"end":');

function jsonTries(out: LineBytes, { attempts, tries }: AccessEntry): void {
  if (attempts === 1 && tries.length === 1 && tries[0]!.failure === null) return out.raw(JSON_FIRST_TRY);
  out.raw(JSON_ATTEMPTS);
  out.whole(attempts);
  out.raw(JSON_TRIES);
  for (let i = 0; i < tries.length; i++) {
    const { pool, address, failure } = tries[i]!;
    if (i > 0) out.byte(COMMA);
    out.raw(JSON_TRY);
    out.quotedOrNull(pool);
    out.raw(JSON_SERVER);
    out.quotedOrNull(address);
    out.raw(JSON_FAILURE);
    out.quotedOrNull(failure);
    out.byte(CLOSE);
  }
  out.raw(JSON_LIMITS);
}

function jsonEnd(out: LineBytes, entry: AccessEntry): void {
  const { limits, limitedBy, wouldLimit, error, end } = entry;
  for (let i = 0; i < limits.length; i++) {
    const { policy, outcome } = limits[i]!;
    if (i > 0) out.byte(COMMA);
    out.quotedOrNull(policy.name);
    out.byte(COLON);
    out.quotedOrNull(outcome);
  }
  if (limitedBy === null && wouldLimit.length === 0 && error === null && end === "complete") {
    return out.raw(JSON_ALL_WELL);
  }
  out.raw(JSON_LIMITED);
  out.quotedOrNull(limitedBy);
  out.raw(JSON_WOULD_LIMIT);
  for (let i = 0; i < wouldLimit.length; i++) {
    if (i > 0) out.byte(COMMA);
    out.quotedOrNull(wouldLimit[i]!);
  }
  out.raw(JSON_ERROR);
  out.quotedOrNull(error);
  out.raw(JSON_END);
  out.quotedOrNull(end);
  out.byte(CLOSE);
}

/**
 * The combined format of Apache and nginx: `IP - - [TIME] "METHOD TARGET PROTOCOL" STATUS BYTES "REFERER" "USER-AGENT"`,
 * with what could end a value written as `\xHH`.
 */
export function combinedFormat(): AccessLineFormat {
  const timestamps = TimestampWriter.combined();
  return (out, entry, sent, wallTime) => {
    const { clientIp, method } = entry;
    hexWord(out, clientIp);
    out.raw(COMBINED_TIME);
    timestamps.second(out, wallTime);
    out.raw(COMBINED_REQUEST);
    if (method === "") out.byte(DASH);
    else {
      hexText(out, method);
      out.byte(SPACE);
      if (sent === null || !sent.writeTarget(out)) hexText(out, entry.target);
      out.byte(SPACE);
      hexText(out, entry.protocol);
    }
    out.raw(COMBINED_STATUS);
    out.whole(entry.status);
    out.byte(SPACE);
    out.whole(entry.bytesSent);
    out.raw(COMBINED_REFERER);
    const referer = sent === null ? UNKNOWN : sent.writeReferer(out);
    if (referer !== WRITTEN) hexWord(out, referer === ABSENT ? "" : entry.referer);
    out.raw(COMBINED_AGENT);
    const agent = sent === null ? UNKNOWN : sent.writeUserAgent(out);
    if (agent !== WRITTEN) hexWord(out, agent === ABSENT ? "" : entry.userAgent);
    out.byte(QUOTE);
  };
}

const COMBINED_TIME = encodeText(" - - [");
const COMBINED_REQUEST = encodeText('] "');
const COMBINED_STATUS = encodeText('" ');
const COMBINED_REFERER = encodeText(' "');
const COMBINED_AGENT = encodeText('" "');

/** What readers of this format take for the end of a value, or of the line. */
// deno-lint-ignore no-control-regex
const UNSAFE = /[\x00-\x1f"\\\x7f-\u{10ffff}]/gu;
const SAFE = plainBytes();

function hexText(out: LineBytes, text: string): void {
  if (!out.plain(text, SAFE)) out.text(escapeHex(text));
}

function hexWord(out: LineBytes, text: string | null): void {
  if (text === null || text === "") out.byte(DASH);
  else hexText(out, text);
}

function escapeHex(text: string): string {
  return text.replace(UNSAFE, (character) => {
    const bytes = character < "\u0100" ? [character.charCodeAt(0)] : encodeText(character);
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
  const timestamps = TimestampWriter.rfc3339();
  const readers = readersOf(fields).map(([name, read]) =>
    [encodeText(`,${JSON.stringify(name)}:`), read] as const
  );
  return (out, entry, _sent, wallTime) => {
    out.raw(JSON_TIME);
    timestamps.moment(out, wallTime);
    out.raw(JSON_KIND);
    for (const [name, read] of readers) {
      out.raw(name);
      const value = read(entry);
      if (typeof value === "string" || value === null) out.quotedOrNull(value);
      // Strings in there are names of the configuration.
      else out.text(typeof value === "object" ? JSON.stringify(value) : String(value));
    }
    out.byte(CLOSE);
  };
}

/** The head of a line of text and these fields; those that there is nothing to tell of are `-`. */
export function textFormat(fields: readonly string[]): AccessLineFormat {
  const timestamps = TimestampWriter.rfc3339();
  const readers = readersOf(fields).map(([name, read]) => [encodeText(` ${name}=`), read] as const);
  return (out, entry, sent, wallTime) => {
    textHead(out, entry, sent, wallTime, timestamps);
    for (const [name, read] of readers) {
      out.raw(name);
      const value = read(entry);
      if (value === null) out.byte(DASH);
      else out.word(typeof value === "object" ? JSON.stringify(value) : String(value));
    }
  };
}
