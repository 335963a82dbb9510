/**
 * A second request parser, slow and simple, written from RFC 9112, RFC 9110 and RFC 3986: the codec must produce the
 * same result for the same bytes.
 *
 * It works on text with one character per byte, uses regular expressions, and always has the complete input.
 */

import type { ReadRequest, RequestsRead } from "./read_requests.ts";

/** Limits of a head. */
interface HeadLimits {
  readonly maxHead: number;
  readonly maxFields: number;
}

const LIMITS: HeadLimits = { maxHead: 32_768, maxFields: 200 };
const MAX_TARGET = 16_384;
const MAX_METHOD = 32;
const MAX_EXTENSIONS = 4096;
const MAX_TRAILERS = 8192;

/** RFC 9110 section 5.6.2. */
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]*/y;
/** RFC 9110 section 5.5, with HTAB and obs-text. */
const VALUE = /[\t\x20-\x7e\x80-\xff]*/y;
/** No space, control character or fragment. */
const TARGET = /[\x21\x22\x24-\x7e\x80-\xff]*/y;
const BLANKS = /[\t ]*/y;
/** RFC 9110 section 5.6.4, without its quotes. */
const QUOTED = /(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*/y;
const HEX = /[0-9a-fA-F]*/y;

// RFC 3986 appendix A.
const DEC_OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]\\d|\\d)";
const IPV4 = `${DEC_OCTET}(?:\\.${DEC_OCTET}){3}`;
const H16 = "[0-9A-Fa-f]{1,4}";
const LS32 = `(?:${H16}:${H16}|${IPV4})`;
const IPV6 = [
  `(?:${H16}:){6}${LS32}`,
  `::(?:${H16}:){5}${LS32}`,
  `(?:${H16})?::(?:${H16}:){4}${LS32}`,
  `(?:(?:${H16}:){0,1}${H16})?::(?:${H16}:){3}${LS32}`,
  `(?:(?:${H16}:){0,2}${H16})?::(?:${H16}:){2}${LS32}`,
  `(?:(?:${H16}:){0,3}${H16})?::(?:${H16}:)${LS32}`,
  `(?:(?:${H16}:){0,4}${H16})?::${LS32}`,
  `(?:(?:${H16}:){0,5}${H16})?::${H16}`,
  `(?:(?:${H16}:){0,6}${H16})?::`,
].join("|");
/** Without the comma, which would make it a list. */
const REG_NAME = "(?:[A-Za-z0-9\\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+";
const AUTHORITY = new RegExp(`^(\\[(?:${IPV6})\\]|${REG_NAME})(?::(\\d*))?$`);

/**
 * RFC 9110 section 6.5.1: fields that are not allowed in a trailer section or must not be merged into one, and imitated
 * proxy fields.
 */
const NO_TRAILER = new RegExp(
  "^(?:" + [
    "content-(?:length|encoding|type|range|language|location|disposition|security-policy)",
    "transfer-encoding|te|trailer|connection|close|keep-alive|upgrade|http2-settings|proxy-connection",
    "host|expect|max-forwards|cache-control|pragma|range|if-.*|via|forwarded|x-forwarded-.*|x-real-ip",
    "authorization|www-authenticate|proxy-auth.*|authentication-info|cookie|set-cookie|origin|referer",
    "age|date|expires|last-modified|location|retry-after|vary|warning|accept-ranges|allow|alt-svc|refresh",
    "client-cert(?:-chain)?|clear-site-data|strict-transport-security|x-content-type-options|x-frame-options|early-data",
    "x-http-method(?:-override)?|x-method-override|x-original-url|x-rewrite-url|access-control-.*|sec-.*",
  ].join("|") + ")$",
);

/** Ends the parsing: with a status, or because more bytes are needed. */
class Verdict extends Error {
  constructor(readonly end: number | "open") {
    super(String(end));
  }
}

/** Text that is consumed from the beginning. */
class Scanner {
  constructor(readonly text: string, public at: number) {}

  get ended(): boolean {
    return this.at >= this.text.length;
  }

  take(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)![0];
    this.at += found.length;
    return found;
  }

  /** Consumes characters that must follow. */
  expect(wanted: string, status = 400): void {
    for (const character of wanted) {
      if (this.ended) throw new Verdict("open");
      if (this.text[this.at++] !== character) throw new Verdict(status);
    }
  }

  /** The next character, without taking it. */
  peek(): string {
    if (this.ended) throw new Verdict("open");
    return this.text[this.at]!;
  }
}

/**
 * Reads all requests in the bytes of a connection.
 *
 * @param limits limits of the heads; a request sent by a proxy has more fields than the received one
 */
export function readNaively(text: string, limits = LIMITS): RequestsRead {
  const requests: ReadRequest[] = [];
  try {
    for (let at = 0;;) {
      const request = readOne(text, at, limits);
      requests.push(request);
      at = request.next;
      if (!request.persistent) return { requests, end: "closed" };
    }
  } catch (error) {
    if (!(error instanceof Verdict)) throw error;
    return { requests, end: error.end };
  }
}

function readOne(text: string, start: number, limits: HeadLimits): ReadRequest {
  const head = new Scanner(text.slice(0, start + limits.maxHead), start);
  let request;
  try {
    request = readHead(head, limits.maxFields);
  } catch (error) {
    const full = head.text.length === start + limits.maxHead;
    throw error instanceof Verdict && error.end === "open" && full ? new Verdict(431) : error;
  }
  const { length, chunked, connection, ...message } = request;
  const body = new Scanner(text, head.at);
  if (chunked) return { ...message, ...readChunks(body, connection), next: body.at };
  if (body.text.length - body.at < length) throw new Verdict("open");
  const content = text.slice(body.at, body.at + length);
  return { ...message, content, trailers: [], next: body.at + length };
}

function readHead(head: Scanner, maxFields: number) {
  if (head.peek() === "\r") head.expect("\r\n");
  const { method, received, minor } = readRequestLine(head);
  if (method === "CONNECT") throw new Verdict(501);
  if (method === "TRACE") throw new Verdict(405);
  const { authority, target } = readTarget(method, received);
  const { fields, named } = readFields(head, maxFields);
  const old = minor === 0;
  const chunked = named.has("transfer-encoding");
  if (chunked && (old || named.has("content-length"))) throw new Verdict(400);
  const host = named.get("host")?.[0];
  if (host === undefined && !old) throw new Verdict(400);
  if (authority !== null && host !== undefined && authority.toLowerCase() !== host.toLowerCase()) {
    throw new Verdict(400);
  }
  const connection = (named.get("connection") ?? []).flatMap(tokens);
  const persistent = !connection.includes("close") && (!old || connection.includes("keep-alive"));
  return {
    method,
    target: percentEncoded(target),
    host: authority ?? host ?? "",
    minor,
    persistent,
    expectsContinue: named.has("expect") && !old,
    upgrade: connection.includes("upgrade") && named.has("upgrade") && !old,
    fields,
    chunked,
    length: Number(named.get("content-length")?.[0] ?? 0),
    connection,
  };
}

/** RFC 9112 section 3. */
function readRequestLine(head: Scanner) {
  const method = head.take(TOKEN);
  if (method.length > MAX_METHOD) throw new Verdict(501);
  if (head.peek() !== " " || method === "") throw new Verdict(400);
  head.expect(" ");
  const received = head.take(TARGET);
  if (received.length > MAX_TARGET) throw new Verdict(414);
  if (head.peek() !== " " || received === "") throw new Verdict(400);
  head.expect(" HTTP/");
  const major = readDigit(head);
  head.expect(".");
  const minor = readDigit(head);
  head.expect("\r");
  if (major !== 1 || minor > 1) throw new Verdict(505);
  head.expect("\n");
  return { method, received, minor };
}

function readDigit(head: Scanner): number {
  const digit = head.peek();
  if (!/\d/.test(digit)) throw new Verdict(400);
  head.at++;
  return Number(digit);
}

/** RFC 9112 section 3.2: origin form, asterisk form, or absolute form with a scheme of HTTP. */
function readTarget(method: string, received: string): { authority: string | null; target: string } {
  if (received.startsWith("/")) return { authority: null, target: received };
  if (received === "*" && method === "OPTIONS") return { authority: null, target: received };
  const [, authority, rest] = /^https?:\/\/([^/?]*)(.*)$/is.exec(received) ?? [];
  if (authority === undefined || !isAuthority(authority)) throw new Verdict(400);
  if (rest === "" && method === "OPTIONS") return { authority, target: "*" };
  return { authority, target: rest!.startsWith("/") ? rest! : `/${rest}` };
}

function isAuthority(text: string): boolean {
  const [, host, port = ""] = AUTHORITY.exec(text) ?? [];
  return host !== undefined && host.length <= 255 && Number(port) <= 65_535;
}

/** RFC 9112 section 5: lines end with CRLF, no blank before the colon, no folding. */
function readFields(head: Scanner, maxFields: number) {
  const fields: string[] = [];
  const named = new Map<string, string[]>();
  while (head.peek() !== "\r") {
    const name = head.take(TOKEN);
    if (head.peek() !== ":" || name === "") throw new Verdict(400);
    head.expect(":");
    const value = head.take(VALUE).replace(/^[ \t]*/, "").replace(/(?<![ \t])[ \t]+$/, "");
    head.expect("\r\n");
    if (fields.length === 2 * maxFields) throw new Verdict(431);
    fields.push(name, value);
    const key = name.toLowerCase();
    named.set(key, [...named.get(key) ?? [], value]);
    checkField(key, named.get(key)!);
  }
  head.expect("\r\n");
  return { fields, named };
}

function checkField(name: string, values: readonly string[]): void {
  const value = values.at(-1)!;
  if (name === "host" && (values.length > 1 || !isAuthority(value))) throw new Verdict(400);
  if (name === "content-length" && (values.length > 1 || !/^\d{1,15}$/.test(value))) throw new Verdict(400);
  if (name === "expect" && value.toLowerCase() !== "100-continue") throw new Verdict(417);
  if (name !== "transfer-encoding") return;
  // Section 6.1: once; section 6.3 item 4: 400 unless chunked is the last coding; 501 for an unknown coding.
  const codings = value.toLowerCase().split(",").map((coding) => /^[ \t]*(.*?)[ \t]*$/.exec(coding)![1]!);
  const whole = codings.every((coding) => coding !== "");
  const last = codings.at(-1) === "chunked" && !codings.slice(0, -1).includes("chunked");
  if (values.length > 1 || !whole || !last) throw new Verdict(400);
  if (codings.length > 1) throw new Verdict(501);
}

/** RFC 9110 section 5.6.1. */
function tokens(list: string): string[] {
  return list.toLowerCase().split(/[ \t]*,[ \t]*/).filter((token) => token !== "");
}

/** RFC 9112 section 7.1. */
function readChunks(body: Scanner, connection: readonly string[]): { content: string; trailers: string[] } {
  let content = "";
  let extensions = 0;
  for (;;) {
    const digits = body.take(HEX);
    if (digits.length > 13) throw new Verdict(400);
    if (digits === "" && body.peek() !== "") throw new Verdict(400);
    extensions += readExtensions(body, MAX_EXTENSIONS - extensions);
    body.expect("\r\n");
    const size = parseInt(digits, 16);
    if (size === 0) return { content, trailers: readTrailers(body, connection) };
    const data = body.text.slice(body.at, body.at + size);
    if (data.length < size) throw new Verdict("open");
    content += data;
    body.at += size;
    body.expect("\r\n");
  }
}

/** RFC 9112 section 7.1.1, but for white space before the first semicolon; returns their length. */
function readExtensions(body: Scanner, most: number): number {
  const start = body.at;
  try {
    while (body.peek() === ";") {
      body.expect(";");
      body.take(BLANKS);
      if (body.take(TOKEN) === "" && body.peek() !== "") throw new Verdict(400);
      let blanks = body.take(BLANKS);
      if (body.peek() === "=") {
        body.expect("=");
        body.take(BLANKS);
        if (body.peek() === '"') {
          body.expect('"');
          body.take(QUOTED);
          if (body.text.slice(body.at) === "\\") throw new Verdict("open");
          body.expect('"');
        } else if (body.take(TOKEN) === "") throw new Verdict(400);
        blanks = body.take(BLANKS);
      }
      if (blanks !== "" && body.peek() !== ";") throw new Verdict(400);
    }
  } catch (error) {
    const full = body.text.length - start > most;
    throw error instanceof Verdict && error.end === "open" && full ? new Verdict(400) : error;
  }
  if (body.at - start > most) throw new Verdict(400);
  return body.at - start;
}

function readTrailers(body: Scanner, connection: readonly string[]): string[] {
  const section = new Scanner(body.text.slice(0, body.at + MAX_TRAILERS), body.at);
  const trailers: string[] = [];
  try {
    while (section.peek() !== "\r") {
      const name = section.take(TOKEN);
      if (section.peek() !== ":" || name === "") throw new Verdict(400);
      section.expect(":");
      const value = section.take(VALUE).replace(/^[ \t]*/, "").replace(/(?<![ \t])[ \t]+$/, "");
      section.expect("\r\n");
      const key = name.toLowerCase();
      if (!NO_TRAILER.test(key.replaceAll("_", "-")) && !connection.includes(key)) trailers.push(key, value);
    }
    section.expect("\r\n");
  } catch (error) {
    const more = body.text.length > section.text.length;
    throw error instanceof Verdict && error.end === "open" && more ? new Verdict(431) : error;
  }
  body.at = section.at;
  return trailers;
}

/** Percent-encodes bytes above 0x7F, as keys and filters see them in a target; `text` has one character per byte. */
export function percentEncoded(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[^\x00-\x7f]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
}
