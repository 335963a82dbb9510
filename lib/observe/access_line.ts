/** The formats of the access log. */

import type { AccessEntry } from "./observer.ts";
import { type AccessField, headerOf } from "./access_log_options.ts";
import { encodeText, LineBytes, plainBytes, TimestampWriter } from "./line_bytes.ts";

/** Parts of the client's request as received bytes, for lines that need no strings. */
export interface SentBytes {
  /** Writes the target; writes nothing and returns `false` if it is unavailable or has to be changed. */
  writeTarget(out: LineBytes): boolean;
  /** Writes the value of `Referer`; {@linkcode UNKNOWN} if the value of the entry has to be used. */
  writeReferer(out: LineBytes): SentField;
  /** Writes the value of `User-Agent`. */
  writeUserAgent(out: LineBytes): SentField;
}

/** Whether a field was written, is absent, or is not available as bytes. */
export type SentField = typeof WRITTEN | typeof ABSENT | typeof UNKNOWN;
export const WRITTEN = 1;
export const ABSENT = 0;
export const UNKNOWN = -1;

/** Writes a line, without its end; `sent` has the received bytes of the request, if available. */
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
const ZERO = 0x30;
const SPACE = 0x20;
const DASH = 0x2d;
const COMMA = 0x2c;
const COLON = 0x3a;
const CLOSE = 0x7d;

/**
 * One line for people and for `grep`:
 * `TIME access METHOD "TARGET" STATUS DURATIONms client=IP server=ADDRESS bytes=N id=ID`, followed, if they apply, by
 * `route=NAME`, `pool=NAME`, `attempts=N`, `limited=POLICY`, `would-limit=POLICY`
 * (for each policy on a dry run that would have refused), `error=CODE`, `trace=ID`.
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
 * One JSON object with the same members in the same order: `time`, `level`, `kind` (`"access"`), and the fields in
 * {@linkcode AccessField}. A field without a value is `null`; `wouldLimit` is an array of names, `tries` an array of
 * `{ pool, server, failure }` (empty if the first attempt succeeded), `limits` an object with the decision of each policy.
 *
 * Parts that are equal for many requests are kept as bytes: copying a hundred of them costs less than making ten.
 */
export function wholeJsonFormat(): AccessLineFormat {
  const head = new TimePiece('{"time":"', '","level":"info","kind":"access","requestId":"');
  const client = new ClientPiece();
  const request = new RequestPiece();
  const servers = new ServerPieces();
  return (out, entry, sent, wallTime) => {
    const { traceId, protocol, tlsVersion, connectMs, queueMs } = entry;
    head.write(out, wallTime);
    out.quoted(entry.requestId);
    if (traceId === null) out.raw(JSON_NO_TRACE);
    else {
      out.raw(JSON_TRACE);
      out.quotedOrNull(traceId);
    }
    client.write(out, entry.clientIp, entry.peerIp);
    request.write(out, entry.method, entry.host);
    quotedTarget(out, entry, sent);
    if (protocol === "HTTP/1.1" && tlsVersion === null) out.raw(JSON_PLAIN_HTTP1);
    else {
      out.raw(JSON_PROTOCOL);
      out.quotedOrNull(protocol);
      out.raw(JSON_TLS);
      out.quotedOrNull(tlsVersion);
      out.raw(JSON_REFERER);
    }
    quotedReferer(out, entry, sent);
    out.raw(JSON_AGENT);
    quotedUserAgent(out, entry, sent);
    out.raw(JSON_STATUS);
    out.whole(entry.status);
    servers.write(out, entry.route, entry.server, entry.pool);
    out.milliseconds(entry.durationMs);
    if (queueMs === 0 && connectMs === null) out.raw(JSON_NO_WAIT);
    else {
      out.raw(JSON_QUEUE);
      out.milliseconds(queueMs);
      out.raw(JSON_CONNECT);
      out.millisecondsOrNull(connectMs);
      out.raw(JSON_FIRST_BYTE);
    }
    out.millisecondsOrNull(entry.firstByteMs);
    out.raw(JSON_BYTES);
    out.whole(entry.bytesSent);
    jsonEnd(out, entry);
  };
}

/** The time with its surrounding text as one piece, in which the milliseconds are overwritten. */
class TimePiece {
  readonly #before: string;
  readonly #after: string;
  #piece = encodeText("");
  #second = NaN;
  #ms = NaN;

  constructor(before: string, after: string) {
    this.#before = before;
    this.#after = after;
  }

  write(out: LineBytes, wallTimeMs: number): void {
    const ms = Math.floor(wallTimeMs);
    if (ms !== this.#ms) this.#move(ms);
    out.raw(this.#piece);
  }

  #move(ms: number): void {
    this.#ms = ms;
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#piece = encodeText(this.#before + new Date(second * 1000).toISOString() + this.#after);
    }
    const at = this.#before.length + "2026-11-23T12:00:00.".length;
    const rest = ms - second * 1000;
    this.#piece[at] = ZERO + (rest / 100 | 0);
    this.#piece[at + 1] = ZERO + (rest / 10 | 0) % 10;
    this.#piece[at + 2] = ZERO + rest % 10;
  }
}

/** The client; kept for the next request, since a client sends several. */
class ClientPiece {
  readonly #piece = new LineBytes(128);
  #clientIp: string | null = null;
  #peerIp: string | null = null;

  write(out: LineBytes, clientIp: string, peerIp: string): void {
    if (clientIp !== this.#clientIp || peerIp !== this.#peerIp) {
      const piece = this.#piece;
      piece.length = 0;
      piece.raw(JSON_CLIENT);
      piece.quotedOrNull(this.#clientIp = clientIp);
      piece.raw(JSON_PEER);
      piece.quotedOrNull(this.#peerIp = peerIp);
    }
    out.append(this.#piece);
  }
}

/** Method and host; kept, since most requests are for one host. */
class RequestPiece {
  readonly #piece = new LineBytes(128);
  #method: string | null = null;
  #host: string | null = null;

  write(out: LineBytes, method: string, host: string): void {
    if (host !== this.#host || method !== this.#method) {
      const piece = this.#piece;
      piece.length = 0;
      piece.raw(JSON_METHOD);
      piece.quotedOrNull(this.#method = method);
      piece.raw(JSON_HOST);
      piece.quotedOrNull(this.#host = host);
      piece.raw(JSON_TARGET);
    }
    out.append(this.#piece);
  }
}

/** Maximum number of servers whose pieces are kept: servers found by discovery change. */
const MAX_PIECES = 1024;

/** The server of the response; kept per server, since requests alternate between servers. */
class ServerPieces {
  readonly #pieces = new Map<
    string | null,
    { readonly route: string | null; readonly pool: string | null; readonly bytes: Uint8Array }
  >();

  write(out: LineBytes, route: string | null, server: string | null, pool: string | null): void {
    const known = this.#pieces.get(server);
    if (known !== undefined && known.route === route && known.pool === pool) return out.raw(known.bytes);
    const from = out.length;
    out.raw(JSON_ROUTE);
    out.quotedOrNull(route);
    out.raw(JSON_SERVER);
    out.quotedOrNull(server);
    out.raw(JSON_POOL);
    out.quotedOrNull(pool);
    out.raw(JSON_DURATION);
    if (this.#pieces.size >= MAX_PIECES) this.#pieces.clear();
    this.#pieces.set(server, { route, pool, bytes: out.bytes.slice(from, out.length) });
  }
}

const JSON_TIME = encodeText('{"time":"');
const JSON_KIND = encodeText('","level":"info","kind":"access"');
const JSON_NO_TRACE = encodeText('","traceId":null');
const JSON_TRACE = encodeText('","traceId":');
const JSON_CLIENT = encodeText(',"client":');
const JSON_PEER = encodeText(',"peer":');
const JSON_METHOD = encodeText(',"method":');
const JSON_HOST = encodeText(',"host":');
const JSON_TARGET = encodeText(',"target":');
const JSON_PLAIN_HTTP1 = encodeText(',"protocol":"HTTP/1.1","tls":null,"referer":');
const JSON_PROTOCOL = encodeText(',"protocol":');
const JSON_TLS = encodeText(',"tls":');
const JSON_REFERER = encodeText(',"referer":');
const JSON_AGENT = encodeText(',"userAgent":');
const JSON_STATUS = encodeText(',"status":');
const JSON_ROUTE = encodeText(',"route":');
const JSON_SERVER = encodeText(',"server":');
const JSON_POOL = encodeText(',"pool":');
const JSON_DURATION = encodeText(',"durationMs":');
const JSON_NO_WAIT = encodeText(',"queueMs":0,"connectMs":null,"firstByteMs":');
const JSON_QUEUE = encodeText(',"queueMs":');
const JSON_CONNECT = encodeText(',"connectMs":');
const JSON_FIRST_BYTE = encodeText(',"firstByteMs":');
const JSON_BYTES = encodeText(',"bytes":');
/** The end of most lines: no request content, the first attempt succeeded, and the response was sent completely. */
const JSON_ALL_WELL = encodeText(
  ',"bytesReceived":0,"attempts":1,"tries":[],"limits":{},"limited":null,"wouldLimit":[],"error":null,"end":"complete"}',
);
const JSON_RECEIVED = encodeText(',"bytesReceived":');
const JSON_FIRST_TRY = encodeText(',"attempts":1,"tries":[],"limits":{');
const JSON_ATTEMPTS = encodeText(',"attempts":');
const JSON_TRIES = encodeText(',"tries":[');
const JSON_TRY = encodeText('{"pool":');
const JSON_FAILURE = encodeText(',"failure":');
const JSON_LIMITS = encodeText('],"limits":{');
const JSON_ENDED_WELL = encodeText('},"limited":null,"wouldLimit":[],"error":null,"end":"complete"}');
const JSON_LIMITED = encodeText('},"limited":');
const JSON_WOULD_LIMIT = encodeText(',"wouldLimit":[');
const JSON_ERROR = encodeText('],"error":');
const JSON_END = encodeText(',"end":');

function jsonTries(out: LineBytes, { attempts, tries }: AccessEntry): void {
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
  const { bytesReceived, attempts, tries, limits, limitedBy, wouldLimit, error, end } = entry;
  const endedWell = error === null && limitedBy === null && wouldLimit.length === 0 && end === "complete";
  const atFirst = attempts === 1 && tries.length === 1 && tries[0]!.failure === null;
  if (endedWell && atFirst && bytesReceived === 0 && limits.length === 0) return out.raw(JSON_ALL_WELL);
  out.raw(JSON_RECEIVED);
  out.whole(bytesReceived);
  if (atFirst) out.raw(JSON_FIRST_TRY);
  else jsonTries(out, entry);
  for (let i = 0; i < limits.length; i++) {
    const { policy, outcome } = limits[i]!;
    if (i > 0) out.byte(COMMA);
    out.quotedOrNull(policy.name);
    out.byte(COLON);
    out.quotedOrNull(outcome);
  }
  if (endedWell) return out.raw(JSON_ENDED_WELL);
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
 * The combined format of Apache and nginx:
 * `IP - - [TIME] "METHOD TARGET PROTOCOL" STATUS BYTES "REFERER" "USER-AGENT"`. Characters that could end a value are written as `\xHH`.
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

/** Characters that readers of this format could treat as the end of a value or line. */
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
      // Strings in such objects are names of the configuration.
      else out.text(typeof value === "object" ? JSON.stringify(value) : String(value));
    }
    out.byte(CLOSE);
  };
}

/** The head of a text line and these fields; fields without a value are `-`. */
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
