/** A WebSocket on either side, for tests that wait for its messages and its end. */

import { TLS_PORTS } from "./engine.ts";
import type { RawConnection } from "./raw_connection.ts";
import { trustingClient } from "./tls_client.ts";
import { startUpstream, type Upstream, type UpstreamOptions } from "./start_upstream.ts";

/** The end of a WebSocket. */
export type Ending = [code: number, reason: string];

/** Receives messages in order. */
export class TestWebSocket {
  readonly socket: WebSocket;
  /** Resolves when it is closed. */
  readonly closed: Promise<Ending>;
  readonly opened: Promise<void>;
  readonly #messages: (string | Uint8Array)[] = [];
  #waiting: ((message: string | Uint8Array) => void) | null = null;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    const opened = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<Ending>();
    this.opened = opened.promise;
    this.closed = closed.promise;
    // Avoids an unhandled rejection in tests that do not wait for it.
    this.opened.catch(() => {});
    socket.onopen = () => opened.resolve();
    socket.onclose = ({ code, reason }) => {
      opened.reject(new Error(`closed with ${code} before it opened`));
      closed.resolve([code, reason]);
    };
    socket.onerror = () => {};
    socket.onmessage = ({ data }) => this.#take(typeof data === "string" ? data : new Uint8Array(data));
  }

  #take(message: string | Uint8Array): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting === null) this.#messages.push(message);
    else waiting(message);
  }

  /** The next message. */
  next(): Promise<string | Uint8Array> {
    const message = this.#messages.shift();
    if (message !== undefined) return Promise.resolve(message);
    const { promise, resolve } = Promise.withResolvers<string | Uint8Array>();
    this.#waiting = resolve;
    return promise;
  }

  /** Closes it and waits for its end. */
  async close(code = 1000, reason = ""): Promise<Ending> {
    this.socket.close(code, reason);
    return await this.closed;
  }
}

/** Opens a WebSocket, and waits until it is open. */
export async function openWebSocket(
  url: string,
  options: string[] | { protocols?: string[]; headers?: Record<string, string>; client?: Deno.HttpClient } =
    [],
): Promise<TestWebSocket> {
  const { port } = new URL(url);
  if (!url.startsWith("ws:") || !TLS_PORTS.has(Number(port))) return await open(url, options);
  // The port got TLS for the test; the server name is that of its certificate.
  const client = await trustingClient();
  const given = Array.isArray(options) ? { protocols: options } : options;
  const socket = await open(url.replace(/^ws:\/\/[^/]+/, `wss://localhost:${port}`), { ...given, client })
    .catch((error) => {
      client.close();
      throw error;
    });
  socket.closed.then(() => client.close());
  return socket;
}

async function open(url: string, options: Parameters<typeof openWebSocket>[1]): Promise<TestWebSocket> {
  const web = new TestWebSocket(new WebSocket(url, options as string[]));
  await web.opened;
  return web;
}

/** A WebSocket server; without a handler it echoes messages. */
export interface WebSocketUpstream {
  readonly upstream: Upstream;
  readonly address: string;
  /** The sockets so far. */
  readonly sockets: TestWebSocket[];
  /** The next socket that a client opens. */
  next(): Promise<TestWebSocket>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts an upstream that accepts every WebSocket, with the last offered subprotocol. */
export function webSocketUpstream(
  options: { echo?: boolean; tls?: UpstreamOptions["tls"]; headers?: Record<string, string> } = {},
): WebSocketUpstream {
  const { echo = true, tls, headers = {} } = options;
  const sockets: TestWebSocket[] = [];
  const waiting: ((socket: TestWebSocket) => void)[] = [];
  const upstream = startUpstream({
    ...(tls === undefined ? {} : { tls }),
    handler: (request) => {
      const protocol = request.headers.get("sec-websocket-protocol")?.split(", ").at(-1) ?? "";
      const { socket, response } = Deno.upgradeWebSocket(request, { protocol, idleTimeout: 0 });
      for (const [name, value] of Object.entries(headers)) response.headers.append(name, value);
      const web = new TestWebSocket(socket);
      sockets.push(web);
      socket.addEventListener("open", () => waiting.shift()?.(web));
      if (echo) socket.onmessage = ({ data }) => socket.send(data);
      return response;
    },
  });
  return {
    upstream,
    address: upstream.address,
    sockets,
    next() {
      const { promise, resolve } = Promise.withResolvers<TestWebSocket>();
      waiting.push(resolve);
      return promise;
    },
    [Symbol.asyncDispose]: () => upstream.close(),
  };
}

/** Head of a WebSocket request, as raw text. */
export function upgradeHead(lines: readonly string[] = []): string {
  return [
    "GET /ws HTTP/1.1",
    "Host: h",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...lines,
    "",
    "",
  ].join("\r\n");
}

/** The `Sec-WebSocket-Accept` value for the head of a WebSocket request. */
export async function acceptOf(head: { fields: readonly (readonly [string, string])[] }): Promise<string> {
  const key = head.fields.find(([name]) => name.toLowerCase() === "sec-websocket-key")![1];
  const bytes = new TextEncoder().encode(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
  return new Uint8Array(await crypto.subtle.digest("SHA-1", bytes)).toBase64();
}

/** Reads a WebSocket request and accepts it; `lines` are further lines of the head. */
export async function acceptSwitch(connection: RawConnection, lines: readonly string[] = []): Promise<void> {
  const request = await connection.readRequest();
  await connection.write(switching(await acceptOf(request!), lines));
}

/** Head of a response that switches to a WebSocket. */
export function switching(accept: string, lines: readonly string[] = []): string {
  return [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${accept}`,
    ...lines,
    "",
    "",
  ].join("\r\n");
}

/** The next frame of either side, unmasked. */
export async function readFrame(
  connection: RawConnection,
): Promise<{ opcode: number; fin: boolean; payload: Uint8Array<ArrayBuffer> }> {
  const [first, second] = await connection.readExactly(2) as unknown as [number, number];
  const short = second & 0x7f;
  const extra = short === 127 ? 8 : short === 126 ? 2 : 0;
  const size = await connection.readExactly(extra);
  const length = extra === 0 ? short : size.reduce((length, byte) => length * 256 + byte, 0);
  const mask = (second & 0x80) === 0 ? null : await connection.readExactly(4);
  const payload = await connection.readExactly(length);
  if (mask !== null) payload.forEach((byte, i) => payload[i] = byte ^ mask[i & 3]!);
  return { opcode: first & 0x0f, fin: (first & 0x80) !== 0, payload };
}
