/**
 * An HTTP/2 server that forwards to an HTTP/1.1 server, so that tests with raw HTTP/1.1 bytes also cover an HTTP/2
 * client. HTTP/1.1 connections are relayed unchanged.
 */

import { Cancellation, DeadlineWheel } from "../../lib/core/cancellation.ts";
import { systemClock } from "../../lib/core/clock.ts";
import { ClientGoneError } from "../../lib/core/errors.ts";
import { HeaderFields } from "../../lib/http/header_fields.ts";
import { removeHopByHop } from "../../lib/http/proxy_fields.ts";
import { BufferShelf } from "../../lib/http1/head_writer.ts";
import { type ConnectionOwner, Http2Connection } from "../../lib/http2/connection.ts";
import { CODE } from "../../lib/http2/frame_type.ts";
import { KIND } from "../../lib/http2/field_kind.ts";
import { HeadShelf } from "../../lib/http2/received_head.ts";
import { SentContent, type SentContentOwner } from "../../lib/http2/sent_content.ts";
import type { Http2Stream, StreamOwner } from "../../lib/http2/stream.ts";
import { mayRepeatOnNewConnection } from "../../lib/proxy/decide_retry.ts";
import { KeptBody } from "../../lib/proxy/kept_body.ts";
import { Http1Transport } from "../../lib/transport/http1/http1_transport.ts";
import type { ServerResponse, Timeouts } from "../../lib/transport/transport.ts";
import type { Peer } from "../../lib/upstream/peer.ts";
import { closeQuietly } from "./close_quietly.ts";

const FOREVER: Timeouts = {
  connectMs: Infinity,
  tlsMs: Infinity,
  responseMs: Infinity,
  idleMs: Infinity,
  totalMs: Infinity,
};

/** Start of an HTTP/2 connection (RFC 9113 section 3.4). */
const PREFACE = "PRI * HTTP/2.0";

/**
 * Forwards each stream as a separate request: an error of the server resets the stream, and a reset cancels the
 * request.
 */
export class Http2Bridge implements Disposable {
  readonly #listener: Deno.Listener;
  readonly #wheel = new DeadlineWheel({ clock: systemClock });
  readonly #sockets = new Set<Deno.Conn>();
  readonly peer: Peer;

  constructor(
    server: Peer,
    listener: Deno.Listener = Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  ) {
    this.#listener = listener;
    const { port } = listener.addr as Deno.NetAddr;
    this.peer = { address: { kind: "tcp", hostname: "127.0.0.1", port }, tls: null };
    this.#accept(server);
  }

  async #accept(server: Peer): Promise<void> {
    for (;;) {
      const socket = await this.#listener.accept().catch(() => null);
      if (socket === null) return;
      this.#sockets.add(socket);
      if ("setNoDelay" in socket) (socket as Deno.TcpConn).setNoDelay(true);
      this.#serve(socket, server).finally(() => {
        this.#sockets.delete(socket);
        closeQuietly(socket);
      });
    }
  }

  async #serve(socket: Deno.Conn, server: Peer): Promise<void> {
    const first = new Uint8Array(64 * 1024);
    const count = await socket.read(first).catch(() => null);
    const begun = first.subarray(0, count ?? 0);
    if (!new TextDecoder().decode(begun).startsWith(PREFACE)) return await this.#relay(socket, server, begun);
    // Connections opened for a client are closed with its connection.
    using transport = new Http1Transport({ clock: systemClock, wheel: this.#wheel });
    await new BridgeConnection(socket, transport, server).run(begun);
  }

  async #relay(socket: Deno.Conn, { address }: Peer, first: Uint8Array): Promise<void> {
    // If the server refuses or resets the connection, the client's connection is closed.
    const onward = await Deno.connect(address as { hostname: string; port: number }).catch(() => null);
    if (onward === null) return;
    this.#sockets.add(onward);
    await onward.write(first).catch(() => {});
    const up = socket.readable.pipeTo(onward.writable).catch(() => {});
    await onward.readable.pipeTo(socket.writable).catch(() => {});
    closeQuietly(onward);
    closeQuietly(socket);
    await up;
    this.#sockets.delete(onward);
  }

  [Symbol.dispose](): void {
    closeQuietly(this.#listener);
    for (const socket of this.#sockets) closeQuietly(socket);
    this.#wheel[Symbol.dispose]();
  }
}

class BridgeConnection implements ConnectionOwner {
  readonly #socket: Deno.Conn;
  readonly #transport: Http1Transport;
  readonly #server: Peer;
  readonly #codec: Http2Connection;
  #writing = false;

  constructor(socket: Deno.Conn, transport: Http1Transport, server: Peer) {
    this.#socket = socket;
    this.#transport = transport;
    this.#server = server;
    this.#codec = new Http2Connection({
      side: "server",
      owner: this,
      buffers: new BufferShelf(),
      heads: new HeadShelf(),
      now: () => systemClock.now(),
      maxHeadBytes: 64 * 1024,
      maxFields: 200,
      connectionWindow: 16 * 1024 * 1024,
    });
  }

  async run(first: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#codec.begin();
    this.#codec.receive(first, 0, first.length);
    const buffer = new Uint8Array(64 * 1024);
    try {
      for (;;) {
        const count = await this.#socket.read(buffer);
        if (count === null) break;
        this.#codec.receive(buffer, 0, count);
      }
    } catch {
      // The client has disconnected, or the test has ended.
    }
    this.#codec.dispose("the connection is closed");
  }

  onOutput(): void {
    if (this.#writing) return;
    this.#writing = true;
    this.#write().catch(() => {});
  }

  async #write(): Promise<void> {
    await Promise.resolve();
    while (this.#codec.hasOutput) {
      const bytes = this.#codec.takeOutput();
      for (let sent = 0; sent < bytes.length;) sent += await this.#socket.write(bytes.subarray(sent));
      this.#codec.outputWritten(bytes);
    }
    this.#writing = false;
  }

  onStream(stream: Http2Stream): void {
    new BridgeStream(stream).send(this.#transport, this.#server);
  }

  onStreamEnd(): void {}
  onGoAway(): void {}
  onFailure(): void {
    closeQuietly(this.#socket);
  }
}

class BridgeStream implements StreamOwner, SentContentOwner {
  readonly #stream: Http2Stream;
  readonly #cancellation = new Cancellation();
  readonly #content: SentContent;
  #response: ServerResponse | null = null;

  constructor(stream: Http2Stream) {
    this.#stream = stream;
    this.#content = new SentContent(stream, this);
    stream.owner = this;
  }

  send(transport: Http1Transport, server: Peer): void {
    const { head, content } = this.#stream;
    const headers = new HeaderFields();
    headers.begin(head!.lines);
    headers.detach();
    const method = head!.text(KIND.METHOD);
    const body = content === null ? null : new KeptBody(content);
    const target = head!.text(KIND.PATH);
    transport.send({ method, target, targetBytes: head, headers, body }, server, {
      timeouts: FOREVER,
      cancellation: this.#cancellation,
      maySendAgain: (failure) => mayRepeatOnNewConnection(failure, method, body === null || body.repeatable),
      interim: (status, fields) => {
        removeHopByHop(fields);
        this.#stream.respond(status, fields, null, false);
      },
      responded: (response) => this.#respond(response, method),
      failed: () => this.#stream.reset(CODE.INTERNAL_ERROR),
    });
  }

  #respond(response: ServerResponse, method: string): void {
    this.#response = response;
    const { status, headers, body } = response;
    removeHopByHop(headers);
    const described = method === "HEAD" ? headers.get("content-length") : null;
    const length = body?.length ?? (described === null ? null : Number(described));
    this.#stream.respond(status, headers, length, body === null);
    if (body === null) this.#end();
    else this.#content.send(body);
  }

  // Stops reading the rest of the request (RFC 9113 section 8.1).
  #end(): void {
    this.#response?.release();
    if (!this.#stream.remoteEnded) this.#stream.reset(CODE.NO_ERROR);
    this.#stream.release();
  }

  onSent(): void {
    this.#end();
  }
  onBroken(): void {
    this.#stream.reset(CODE.INTERNAL_ERROR);
    this.#response?.release();
  }
  onHead(): void {}
  onRoom(): void {
    this.#content.onRoom();
  }
  onContentAwaited(): void {}
  onReset(): void {
    this.#content.stop();
    this.#stream.content?.fail(new ClientGoneError());
    this.#cancellation.cancel(new ClientGoneError());
    this.#response?.release();
  }
}
