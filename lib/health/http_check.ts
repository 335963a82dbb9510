/** Checks whether a server sends the expected response to an HTTP request. */

import { describeValue } from "../core/describe_value.ts";
import { responseBodyReader } from "../http1/body_reader.ts";
import { HeadWriter, UnwritableHeadError } from "../http1/head_writer.ts";
import { malformedResponse, ResponseHeadParser } from "../http1/head_parser.ts";
import { formatAddress, type Peer } from "../upstream/peer.ts";
import type { Server } from "../upstream/server.ts";
import { type Probe, ProbeConnection } from "./probe.ts";

/** A test of the content of a response: it must contain a text, match an expression, or satisfy a function. */
export type BodyTest = NonNullable<HttpCheckRequest["body"]>;

/** The request of a check, and the expected response. */
export interface HttpCheckRequest {
  /** Method of the request. @default {"GET"} */
  method?: string;
  /** Path and query. @default {"/"} */
  path?: string;
  /** Field `host`. @default {the name of the server's certificate, or its address} */
  host?: string;
  /** Additional fields; a `host` among them is used unless {@linkcode host} is set. @default {{}} */
  headers?: Readonly<Record<string, string>>;
  /** Statuses that pass, each a number or a range such as `"200-299"`; redirects are not followed. @default {["200-399"]} */
  expectedStatuses?: readonly (number | string)[];
  /** The expected content; the content is read only for this test. @default {anything} */
  body?: string | RegExp | ((body: string) => boolean | Promise<boolean>);
  /** Most bytes of the content to read. @default {65536} */
  maxBodyBytes?: number;
  /** Whether to keep the connection for the next check, when the response allows it. @default {false} */
  reuseConnection?: boolean;
}

/** Statuses that pass by default. */
export const DEFAULT_STATUSES: readonly string[] = ["200-399"];

const USER_AGENT = "lbproxy-health-check";

/**
 * Makes a probe that sends a request over a separate connection, with TLS if the server has it, and parses the response as
 * strictly as the transport does.
 *
 * @param port connects to this port; `null` is the port of the server
 * @throws {TypeError} when a status is invalid, or the head of the request would be
 */
export function httpCheck(options: HttpCheckRequest, port: number | null = null): Probe {
  const { expectedStatuses = DEFAULT_STATUSES, body } = options;
  const ranges = parseStatuses(expectedStatuses);
  const client = new CheckClient(options, port);
  const probe: Probe = async (server, signal) => {
    const response = await client.send(server, signal);
    const { status } = response;
    if (!ranges.some(({ from, to }) => status >= from && status <= to)) throw new Error(`status ${status}`);
    if (body !== undefined && !await matches(body, response.body)) {
      throw new Error("the content is not as expected");
    }
  };
  probe.forget = (server) => client.forget(server);
  return probe;
}

async function matches(test: BodyTest, body: string): Promise<boolean> {
  if (typeof test === "string") return body.includes(test);
  // An expression with the flag g or y would continue after its last match.
  return typeof test === "function"
    ? await test(body)
    : new RegExp(test.source, test.flags.replace(/[gy]/g, "")).test(body);
}

/** A range of statuses, both ends included. */
interface StatusRange {
  readonly from: number;
  readonly to: number;
}

/** The form of a list of statuses, for error messages. */
export const STATUSES_EXPECTED = 'statuses such as 200 or "200-299"';

/**
 * Reads a list of statuses.
 *
 * @throws {TypeError} when an entry is neither a status nor a range of statuses
 */
export function parseStatuses(entries: readonly (number | string)[]): StatusRange[] {
  return entries.map((entry) => {
    const match = /^([1-9]\d\d)(?:-([1-9]\d\d))?$/.exec(String(entry));
    const from = Number(match?.[1]);
    const to = Number(match?.[2] ?? match?.[1]);
    if (match !== null && from <= to) return { from, to };
    throw new TypeError(
      `Cannot read statuses: they must be ${STATUSES_EXPECTED}, received ${describeValue(entry)}`,
    );
  });
}

type Bytes = Uint8Array<ArrayBuffer>;

/** Sends the same request to servers, each time over a new connection or a kept one. */
class CheckClient {
  readonly #options: HttpCheckRequest;
  readonly #port: number | null;
  readonly #maxBodyBytes: number;
  readonly #kept = new Map<Server, ProbeConnection>();

  constructor(options: HttpCheckRequest, port: number | null) {
    this.#options = options;
    this.#port = port;
    const { body, reuseConnection = false, maxBodyBytes = 65_536 } = options;
    // A connection can be reused only after the whole response was read.
    this.#maxBodyBytes = body === undefined && !reuseConnection ? 0 : maxBodyBytes;
    checkHead(options);
  }

  /** Sends the request; if the kept connection fails, sends it again over a new one. */
  async send(server: Server, signal: AbortSignal): Promise<CheckResponse> {
    const kept = this.#kept.get(server);
    if (kept !== undefined) {
      this.#kept.delete(server);
      kept.closeWith(signal);
      try {
        const response = await this.#sendOver(kept, server);
        // The server may have sent a 408 before the request, when it closed the idle connection (RFC 9110 section 15.5.9).
        if (response.status !== 408) return response;
      } catch (error) {
        if (signal.aborted) throw error;
      }
    }
    const { peer: { tls } } = server;
    return await this.#sendOver(
      await ProbeConnection.open(server, { port: this.#port, tls }, signal),
      server,
    );
  }

  async #sendOver(connection: ProbeConnection, server: Server): Promise<CheckResponse> {
    const { method = "GET", reuseConnection = false } = this.#options;
    try {
      await connection.write(requestHead(this.#options, server.peer));
      const response = await readResponse(connection, this.#maxBodyBytes, method);
      if (reuseConnection && response.reusable && !connection.closed) this.#keep(server, connection);
      return response;
    } finally {
      if (this.#kept.get(server) !== connection) connection[Symbol.dispose]();
    }
  }

  #keep(server: Server, connection: ProbeConnection): void {
    this.forget(server);
    connection.closeWith(null);
    this.#kept.set(server, connection);
  }

  /** Closes the kept connection to a server. */
  forget(server: Server): void {
    this.#kept.get(server)?.[Symbol.dispose]();
    this.#kept.delete(server);
  }
}

function checkHead(options: HttpCheckRequest): void {
  try {
    requestHead(options, { address: { kind: "unix", path: "/" }, tls: null });
  } catch (error) {
    if (!(error instanceof UnwritableHeadError)) throw error;
    throw new TypeError(`Cannot check by HTTP: a request cannot have ${error.message}`, { cause: error });
  }
}

function requestHead(options: HttpCheckRequest, { address, tls }: Peer): Bytes {
  const { method = "GET", path = "/", host, headers = {}, reuseConnection = false } = options;
  const fields = Object.entries(headers);
  const given = host ?? fields.find(([field]) => isHost(field))?.[1];
  const name = given ?? tls?.serverName ?? (address.kind === "unix" ? "localhost" : formatAddress(address));
  const head = new HeadWriter(new Uint8Array(512));
  head.requestLine(method, path);
  head.line("host", name);
  if (!fields.some(([field]) => field.toLowerCase() === "user-agent")) head.line("user-agent", USER_AGENT);
  head.line("accept-encoding", "identity");
  if (!reuseConnection) head.line("connection", "close");
  for (const [field, value] of fields) if (!isHost(field)) head.line(field, value);
  head.end();
  return head.bytes.subarray(0, head.length);
}

// Servers refuse a request with two Host fields (RFC 9112 section 3.2).
function isHost(field: string): boolean {
  return field.toLowerCase() === "host";
}

/** The part of a response that a check uses. */
interface CheckResponse {
  readonly status: number;
  /** The content, or its beginning. */
  readonly body: string;
  /** Whether the whole response was read and the connection may be reused (RFC 9112 section 9.3). */
  readonly reusable: boolean;
}

/** Most bytes of framing in addition to the content. */
const MAX_FRAMING_BYTES = 65_536;

/** Most interim responses before the final one. */
const MAX_INTERIM = 16;

/**
 * Reads a response, and at most `maxBodyBytes` of its content. Framing that arrives with the head is always parsed.
 *
 * @throws {Error} when the response is malformed or ends too early
 */
async function readResponse(
  connection: ProbeConnection,
  maxBodyBytes: number,
  method: string,
): Promise<CheckResponse> {
  const head = new ResponseHeadParser();
  let bytes = await readHead(connection, head);
  const { status, persistent } = head;
  const reader = responseBodyReader(head, method);
  let from = head.bodyStart;
  if (reader === null) {
    // A 204 that announces content may be followed by it, which would be read as the next response.
    const announced = status === 204 && (head.chunked || head.contentLength > 0);
    return { status, body: "", reusable: persistent && !announced && from === bytes.length };
  }
  const pieces: Bytes[] = [];
  let missing = maxBodyBytes;
  let framing = 0;
  for (;;) {
    reader.read(bytes, from, bytes.length);
    const content = reader.contentEnd - reader.contentStart;
    framing += reader.next - from - content;
    if (framing > MAX_FRAMING_BYTES) throw new Error("the response is too long");
    pieces.push(bytes.slice(reader.contentStart, reader.contentStart + Math.min(content, missing)));
    missing -= Math.min(content, missing);
    if (reader.done || missing === 0) break;
    const more = await connection.read();
    if (more === null) {
      if (reader.endsWithConnection) break;
      throw tooShort();
    }
    bytes = more;
    from = 0;
  }
  const reusable = persistent && reader.done && reader.next === bytes.length;
  return { status, body: await new Blob(pieces).text(), reusable };
}

/** Reads the head of the final response; returns the buffer with the head and the bytes after it. */
async function readHead(connection: ProbeConnection, head: ResponseHeadParser): Promise<Bytes> {
  head.begin(0);
  let bytes: Bytes = new Uint8Array(0);
  for (let interim = 0;;) {
    if (!head.parse(bytes, bytes.length)) {
      const more = await connection.read();
      if (more === null) throw tooShort();
      bytes = concatenate(bytes, more);
    } else if (head.status >= 200) {
      return bytes;
    } else {
      if (head.status === 101) throw malformedResponse("a switch of protocols that was not asked for");
      if (++interim > MAX_INTERIM) throw malformedResponse("interim responses without end");
      bytes = bytes.slice(head.bodyStart);
      head.begin(0);
    }
  }
}

function concatenate(before: Bytes, after: Bytes): Bytes {
  if (before.length === 0) return after;
  const bytes = new Uint8Array(before.length + after.length);
  bytes.set(before);
  bytes.set(after, before.length);
  return bytes;
}

function tooShort(): Error {
  return new Error("the connection was closed before the end of the response");
}
