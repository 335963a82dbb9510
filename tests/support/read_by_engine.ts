/** Requests on one connection, read by a complete connection of the `http1` engine with a handler of the test. */

import { resolveClientLimits } from "../../lib/config/listen_options.ts";
import { DeadlineWheel } from "../../lib/core/cancellation.ts";
import { ProxyError } from "../../lib/core/errors.ts";
import { ClientConnection, type Http1Context } from "../../lib/engine/http1/client_connection.ts";
import { HeaderFields } from "../../lib/http/header_fields.ts";
import { BufferShelf } from "../../lib/http1/head_writer.ts";
import { RequestHeadParser } from "../../lib/http1/request_head.ts";
import type { ClientStream } from "../../lib/proxy/client_stream.ts";
import { FakeClock } from "./fake_clock.ts";
import { latin1Text } from "./raw_connection.ts";
import { ScriptedSocket, turns } from "./scripted_socket.ts";

/** How the handler uses content: reads all of it, ignores it, cancels it, or leaves a read pending. */
export type ContentUse = "read" | "ignore" | "cancel" | "leave";

/** A request as seen by a handler; text has one character per byte. */
export interface HandledRequest {
  method: string;
  target: string;
  host: string;
  upgrade: boolean;
  /** Name, value, name, value; names are lower case. */
  fields: string[];
  content: string;
  trailers: string[];
}

/** Result for the bytes of a connection. */
export interface EngineRead {
  /** Requests passed to the handler, with the content that it used. */
  requests: HandledRequest[];
  /** Status of the refusal, `"open"` if more bytes are needed, `"closed"` if further bytes are ignored. */
  end: number | "open" | "closed";
}

const LIMITS = resolveClientLimits({ minContentRate: 0 });

/** A connection of the engine with client, clock and handler of the test. */
export class EngineConnection implements Disposable {
  readonly socket = new ScriptedSocket();
  readonly clock = new FakeClock();
  readonly requests: HandledRequest[] = [];
  refusal: number | null = null;
  readonly #wheel = new DeadlineWheel({ clock: this.clock });
  readonly #connection: ClientConnection;

  /** @param useOf how the content of each request is used */
  constructor(useOf: () => ContentUse) {
    const shelf = new BufferShelf();
    const context: Http1Context = {
      handler: {
        handle: (stream) => void this.#handle(stream, useOf()),
        refuse: (stream, { status }) => this.#respond(stream, status, true),
      },
      listener: { scheme: "http" },
      shelf,
      wheel: this.#wheel,
      limits: LIMITS,
      underscores: "pass",
      draining: false,
      crowded: false,
      takeHead: () => ({
        limits: LIMITS,
        parser: new RequestHeadParser(),
        headers: new HeaderFields(),
        outgoing: new HeaderFields(),
      }),
      giveHead: () => {},
      sniffsHttp2: false,
      switchToHttp2: () => {},
      admits: () => true,
      idle: () => {},
      closed: () => {},
    };
    this.#connection = new ClientConnection(
      this.socket,
      { ip: "", port: 0, localIp: "", localPort: 0 },
      context,
    );
  }

  async #handle(stream: ClientStream, use: ContentUse): Promise<void> {
    const { method, target, host, upgrade, headers, body } = stream;
    const request = { method, target, host, upgrade, fields: [...headers].flat() };
    stream.exchange = NOBODY;
    let content = "";
    if (use === "read") {
      try {
        for (let piece = await body?.read(); piece; piece = await body?.read()) content += latin1Text(piece);
      } catch (error) {
        if (!(error instanceof ProxyError)) throw error;
        return this.#respond(stream, error.status, true);
      }
    } else if (use === "leave") body?.read().then(() => body.read()).catch(() => {});
    this.requests.push({ ...request, content, trailers: use === "read" ? [...body?.trailers ?? []] : [] });
    this.#respond(stream, 200, false, () => {
      if (use !== "ignore") body?.cancel();
    });
  }

  #respond(stream: ClientStream, status: number, close: boolean, ended = () => {}): void {
    if (close) this.refusal = status;
    stream.exchange = { ...NOBODY, responseEnded: ended };
    stream.respond({ status, statusText: "", headers: new HeaderFields() }, null, close);
  }

  get end(): number | "open" | "closed" {
    if (this.refusal !== null) return this.refusal;
    return this.socket.closed || this.socket.writeClosed ? "closed" : "open";
  }

  /** Starts the shutdown of the proxy. */
  drain(): void {
    this.#connection.drain();
  }

  /** Returns the bytes written since the last call. */
  taken(): string {
    return this.socket.writes.splice(0).join("");
  }

  [Symbol.dispose](): void {
    this.#connection.dispose();
    this.#wheel[Symbol.dispose]();
  }
}

const NOBODY = { callOff: () => {}, responseUnsent: () => {}, bytesSent: 0, responseEnded: () => {} };

/** Reads requests whose bytes arrive in parts that end at the cuts, and then the rest. */
export async function readByEngine(
  text: string,
  cuts: readonly number[],
  useOf: () => ContentUse,
): Promise<EngineRead> {
  using connection = new EngineConnection(useOf);
  let from = 0;
  for (const to of [...cuts, text.length]) {
    if (connection.socket.closed) break;
    if (to > from) await connection.socket.receive(text.slice(from, to));
    from = to;
  }
  let seen = -1;
  while (seen !== connection.socket.writes.length) {
    seen = connection.socket.writes.length;
    await turns();
  }
  return { requests: connection.requests, end: connection.end };
}
