/** A server of HTTP/2 that passes everything on to one of HTTP/1.1, so that tests of bytes of HTTP/1.1 try an HTTP/2 client too. */

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

/** Each stream is a request of its own; what breaks behind resets it, and what the client gives up is given up behind. */
export class Http2Bridge implements Disposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #wheel = new DeadlineWheel({ clock: systemClock });
  readonly #sockets = new Set<Deno.Conn>();
  readonly peer: Peer;

  constructor(server: Peer) {
    const { port } = this.#listener.addr as Deno.NetAddr;
    this.peer = { address: { kind: "tcp", hostname: "127.0.0.1", port }, tls: null };
    this.#accept(server);
  }

  async #accept(server: Peer): Promise<void> {
    for (;;) {
      const socket = await this.#listener.accept().catch(() => null);
      if (socket === null) return;
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      // What a client has had opened is closed with its connection.
      const transport = new Http1Transport({ clock: systemClock, wheel: this.#wheel });
      new BridgeConnection(socket, transport, server).run().finally(() => {
        this.#sockets.delete(socket);
        closeQuietly(socket);
        transport[Symbol.dispose]();
      });
    }
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

  async run(): Promise<void> {
    this.#codec.begin();
    const buffer = new Uint8Array(64 * 1024);
    try {
      for (;;) {
        const count = await this.#socket.read(buffer);
        if (count === null) break;
        this.#codec.receive(buffer, 0, count);
      }
    } catch {
      // The client is gone, or the test is over.
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
    transport.send({ method, target: head!.text(KIND.PATH), headers, body }, server, {
      timeouts: FOREVER,
      cancellation: this.#cancellation,
      maySendAgain: (failure) => mayRepeatOnNewConnection(failure, method, body === null || body.repeatable),
      interim: (status, fields) => this.#stream.respond(status, fields, null, false),
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

  // What the client has not sent yet is not wanted (RFC 9113 section 8.1).
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
