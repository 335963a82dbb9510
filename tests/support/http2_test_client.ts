/** An HTTP/2 client on a socket, using the client side of the codec; tests can also write any frames. */

import { ClientGoneError } from "../../lib/core/errors.ts";
import { HeaderFields } from "../../lib/http/header_fields.ts";
import type { Body, Bytes } from "../../lib/http/message.ts";
import {
  type ConnectionOwner,
  Http2Connection,
  type Http2ConnectionOptions,
} from "../../lib/http2/connection.ts";
import { CODE, type Http2Error } from "../../lib/http2/frame_type.ts";
import { HeadShelf } from "../../lib/http2/received_head.ts";
import { SentContent } from "../../lib/http2/sent_content.ts";
import type { Http2Stream, RequestFields, StreamOwner, StreamReset } from "../../lib/http2/stream.ts";
import { closeQuietly } from "./close_quietly.ts";
import { FRESH_BUFFERS } from "./http2_pair.ts";
import { testCa } from "./test_ca.ts";

/** A request of a test. */
export interface TestRequest extends Partial<Omit<RequestFields, "fields" | "length">> {
  fields?: readonly (readonly [string, string])[];
  length?: number | null;
  /** Content; without it nothing follows the head, unless `open` is set. */
  body?: Body | null;
  open?: boolean;
}

/** A received response. */
export interface TestResponse {
  status: number;
  fields: [string, string][];
  body: Bytes;
  trailers: readonly string[];
}

/** One request and its response. */
export class TestExchange implements StreamOwner {
  readonly stream: Http2Stream;
  readonly #head = Promise.withResolvers<void>();
  /** Interim responses: status, and fields. */
  readonly interim: [number, [string, string][]][] = [];
  status = 0;
  fields: [string, string][] = [];
  reset: StreamReset | null = null;
  readonly #over = Promise.withResolvers<StreamReset>();
  #sent: SentContent | null = null;
  #onInterim: () => void = () => {};

  constructor(connection: Http2Connection) {
    this.stream = connection.open(this);
    this.#head.promise.catch(() => {});
  }

  /** Sends content after the head. */
  send(body: Body): void {
    this.#sent = new SentContent(this.stream, { onSent: () => {}, onBroken: () => this.stream.reset() });
    this.#sent.send(body);
  }

  onHead(): void {
    const head = this.stream.head!;
    const headers = new HeaderFields();
    headers.begin(head.lines);
    if (head.isInterim) {
      this.interim.push([head.status, [...headers]]);
      return this.#onInterim();
    }
    this.status = head.status;
    this.fields = [...headers];
    this.#head.resolve();
  }
  onRoom(): void {
    this.#sent?.onRoom();
  }
  onContentAwaited(): void {}
  onReset(reset: StreamReset): void {
    this.reset = reset;
    this.stream.content?.fail(new ClientGoneError(reset.message));
    this.#sent?.stop();
    this.#head.reject(new ClientGoneError(reset.message));
    this.#over.resolve(reset);
  }

  /** Resolves when this number of interim responses was received. */
  async untilInterim(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onInterim = () => {
      if (this.interim.length >= count) resolve();
    };
    this.#onInterim();
    await promise;
  }

  /** Resolves with the reset of the stream. */
  get untilReset(): Promise<StreamReset> {
    return this.#over.promise;
  }

  /** Resolves when the head of the response was received. */
  get head(): Promise<void> {
    return this.#head.promise;
  }

  /** The whole response. */
  async response(): Promise<TestResponse> {
    await this.head;
    const pieces: Bytes[] = [];
    const { content } = this.stream;
    try {
      for (let piece = await content?.read(); piece; piece = await content?.read()) {
        pieces.push(piece.slice());
      }
    } catch (error) {
      // The response to a malformed request arrives before the stream error for it.
      if (this.status !== 400 || this.reset?.code !== CODE.PROTOCOL_ERROR) throw error;
    }
    const body = new Uint8Array(await new Blob(pieces).arrayBuffer());
    return { status: this.status, fields: this.fields, body, trailers: content?.trailers ?? [] };
  }
}

/** A connection to a proxy. */
export class Http2TestClient implements ConnectionOwner, Disposable {
  readonly codec: Http2Connection;
  readonly conn: Deno.Conn;
  goAway: number | null = null;
  failure: Http2Error | null = null;
  readonly #closed = Promise.withResolvers<void>();
  readonly #gone = Promise.withResolvers<number>();
  #writing: Promise<void> = Promise.resolve();
  #reading = true;
  #resume: PromiseWithResolvers<void> | null = null;

  constructor(conn: Deno.Conn, options: Partial<Http2ConnectionOptions> = {}) {
    this.conn = conn;
    this.codec = new Http2Connection({
      side: "client",
      owner: this,
      buffers: FRESH_BUFFERS,
      heads: new HeadShelf(),
      now: () => 0,
      maxHeadBytes: 65_536,
      maxFields: 300,
      ...options,
    });
    this.codec.begin();
    void this.#read();
  }

  /** Connects to a port of loopback, over TLS with ALPN, or without TLS. */
  static async open(
    port: number,
    { secured = true, ...options }: Partial<Http2ConnectionOptions> & { secured?: boolean } = {},
  ): Promise<Http2TestClient> {
    const tcp = await Deno.connect({ hostname: "127.0.0.1", port });
    tcp.setNoDelay(true);
    if (!secured) return new Http2TestClient(tcp, options);
    const { cert } = await testCa();
    const tls = await Deno.startTls(tcp, { hostname: "localhost", caCerts: [cert], alpnProtocols: ["h2"] });
    try {
      const { alpnProtocol } = await tls.handshake();
      if (alpnProtocol !== "h2") throw new Error(`The server has chosen ${alpnProtocol}`);
    } catch (error) {
      tls.close();
      throw error;
    }
    return new Http2TestClient(tls, options);
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      for (;;) {
        if (!this.#reading) await (this.#resume = Promise.withResolvers()).promise;
        const count = await this.conn.read(buffer);
        if (count === null) break;
        this.codec.receive(buffer, 0, count);
      }
    } catch {
      // A reset also ends the connection.
    }
    this.codec.dispose("the server closed the connection");
    this.#closed.resolve();
  }

  /** Pauses or resumes reading. */
  read(on: boolean): void {
    this.#reading = on;
    if (on) this.#resume?.resolve();
  }

  onOutput(): void {
    queueMicrotask(() => this.write(this.codec.takeOutput()));
  }

  /** Writes bytes after all earlier ones. */
  write(bytes: Uint8Array): Promise<void> {
    return this.#writing = this.#writing.then(async () => {
      for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await this.conn.write(rest));
    }).catch(() => {});
  }

  onStream(): void {}
  onStreamEnd(): void {}
  onGoAway(code: number): void {
    this.goAway = code;
    this.#gone.resolve(code);
  }
  onFailure(error: Http2Error): void {
    this.failure = error;
  }

  /** Sends a request. */
  ask(target: string, request: TestRequest = {}): TestExchange {
    const { method = "GET", scheme = "https", authority = "h", fields = [], length = null, body = null } =
      request;
    const exchange = new TestExchange(this.codec);
    const ends = body === null && request.open !== true;
    const headers = HeaderFields.adopt(fields.flat());
    const rest = request.protocol === undefined ? {} : { protocol: request.protocol };
    exchange.stream.request({ method, scheme, authority, target, fields: headers, length, ...rest }, ends);
    if (body !== null) exchange.send(body);
    return exchange;
  }

  /** Resolves with the code of GOAWAY. */
  get untilGoAway(): Promise<number> {
    return this.#gone.promise;
  }

  /** Resolves when the proxy has closed the connection. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    await this.#writing;
    await this.closed;
  }

  [Symbol.dispose](): void {
    this.read(true);
    closeQuietly(this.conn);
  }
}
