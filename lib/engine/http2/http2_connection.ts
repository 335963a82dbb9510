/** One HTTP/2 connection of a client: its socket, and its requests. */

import type { ClientCertificate } from "../../http/client_certificate.ts";
import type { Deadline } from "../../core/cancellation.ts";
import type { ProxyError } from "../../core/errors.ts";
import type { Bytes } from "../../http/message.ts";
import type { ProxyAddresses } from "../../http1/proxy_protocol.ts";
import { type ConnectionOwner, Http2Connection } from "../../http2/connection.ts";
import { CODE, type Http2Error } from "../../http2/frame_type.ts";
import type { Http2Stream } from "../../http2/stream.ts";
import { type Http2Context, LAST_REQUEST_MS, type ListedConnection, type Socket } from "../engine.ts";
import { Http2ClientStream, type StreamHost } from "./http2_client_stream.ts";

/** Size of the receive buffer of an idle connection, and of one that receives content. */
const IDLE_BUFFER = 2 * 1024;
const READ_BUFFER = 32 * 1024;
/** How much unread content of a request is kept: the window of its stream. */
const STREAM_WINDOW = 256 * 1024;
/** How long a connection stays open so that its client can read the last response before it sees the end. */
const LINGER_MS = 2000;
/** How much is read meanwhile: bytes that the client may have sent before. A client that sends more does not read. */
const LINGER_BYTES = 1024 * 1024;
/** The same after a flood: its remaining bytes are only more of it. */
const LINGER_FLOOD_BYTES = 64 * 1024;

/** A socket, the codec, and a read that is pending while the client may send. */
export class Http2ClientConnection implements ListedConnection, ConnectionOwner, StreamHost {
  previous: ListedConnection | null = null;
  next: ListedConnection | null = null;
  index = -1;
  keptUntil = 0;
  client = "";
  refusal: ProxyError | null = null;
  readonly context: Http2Context;
  readonly peer: ProxyAddresses;
  readonly #socket: Socket;
  readonly #codec: Http2Connection;
  readonly #deadline: Deadline;
  readonly #streams: Http2ClientStream[] = [];
  #buffer: Bytes = new Uint8Array(IDLE_BUFFER);
  #writing: Bytes | null = null;
  #written = 0;
  /** How many more bytes are read while lingering. */
  #lingerBytes = LINGER_BYTES;
  #receiving = false;
  #scheduled = false;
  #requests = 0;
  #state: "open" | "last" | "linger" | "closed" = "open";
  /** Deadlines of an idle connection, of the current write, and of the entry in the wheel. */
  #idleUntil = Infinity;
  #writeUntil = Infinity;
  #armedFor = Infinity;

  /** @param first bytes that were already received */
  constructor(socket: Socket, peer: ProxyAddresses, context: Http2Context, first: Bytes | null = null) {
    const { shelf, wheel, limits } = context.listener;
    this.#socket = socket;
    this.peer = peer;
    this.context = context;
    this.#deadline = wheel.deadline(() => this.#expired());
    this.#codec = new Http2Connection({
      side: "server",
      owner: this,
      buffers: shelf,
      heads: context.heads,
      now: () => wheel.lately,
      maxHeadBytes: limits.maxHeadBytes,
      maxFields: limits.maxFields,
      extendedConnect: true,
      streamWindow: STREAM_WINDOW,
    });
    this.#becomeIdle();
    this.arm(wheel.lately + limits.headMs);
    this.#receiving = true;
    this.#codec.begin();
    if (first !== null) this.#codec.receive(first, 0, first.length);
    this.#receiving = false;
    this.#flush();
    this.#read();
  }

  get tlsVersion(): string | null {
    return this.#socket.tlsVersion ?? null;
  }

  get certificate(): ClientCertificate | null {
    return this.#socket.certificate ?? null;
  }

  get peerIp(): string {
    return this.peer.ip;
  }

  // --- the socket ---------------------------------------------------------------------------------------------------

  #read(): void {
    const socket = this.#socket;
    if (socket.readThen !== undefined) socket.readThen(this.#buffer, this.#onRead, this.#onLost);
    else socket.read(this.#buffer).then(this.#onRead, this.#onLost);
  }

  readonly #onRead = (count: number | null): void => {
    if (this.#state === "closed") return;
    if (count === null) return this.dispose();
    if (this.#state === "linger") {
      this.#lingerBytes -= count;
      if (this.#lingerBytes < 0) return this.dispose();
    } else {
      this.#receiving = true;
      this.#codec.receive(this.#buffer, 0, count);
      this.#receiving = false;
      if (this.#isClosed) return;
      if (this.#codec.blockSince !== Infinity) {
        this.arm(this.#codec.blockSince + this.context.listener.limits.headMs);
      }
      this.#flush();
    }
    if (count === this.#buffer.length && count < READ_BUFFER) this.#buffer = new Uint8Array(READ_BUFFER);
    this.#read();
  };

  get #isClosed(): boolean {
    return this.#state === "closed";
  }

  readonly #onLost = (): void => this.dispose();

  onOutput(): void {
    if (this.#receiving || this.#scheduled || this.#writing !== null) return;
    this.#scheduled = true;
    queueMicrotask(this.#flushLater);
  }

  readonly #flushLater = (): void => {
    this.#scheduled = false;
    this.#flush();
  };

  #flush(): void {
    if (this.#writing !== null || this.#state === "closed") return;
    if (!this.#codec.hasOutput) {
      if (this.#state === "last") this.#linger();
      return;
    }
    this.#written = 0;
    // Output that is added during this write goes into the next buffer.
    this.#writing = NOTHING;
    this.#writing = this.#codec.takeOutput();
    this.#write();
  }

  #write(): void {
    const { wheel, limits: { writeMs } } = this.context.listener;
    this.#writeUntil = wheel.lately + writeMs;
    this.arm(this.#writeUntil);
    const bytes = this.#writing!;
    this.#socket.write(this.#written === 0 ? bytes : bytes.subarray(this.#written)).then(
      this.#onWritten,
      this.#onLost,
    );
  }

  readonly #onWritten = (count: number): void => {
    if (this.#state === "closed") return;
    const bytes = this.#writing!;
    this.#written += count;
    if (this.#written < bytes.length) return this.#write();
    this.#writeUntil = Infinity;
    this.#writing = null;
    this.#codec.outputWritten(bytes);
    this.#flush();
  };

  // --- requests -----------------------------------------------------------------------------------------------------

  onStream(stream: Http2Stream): void {
    const { listener } = this.context;
    const added = new Http2ClientStream(this, stream);
    if (this.#streams.length === 0) {
      this.#idleUntil = Infinity;
      listener.idle(this, false);
    }
    added.index = this.#streams.push(added) - 1;
    const last = ++this.#requests >= listener.limits.maxRequestsPerConnection;
    if (last || listener.draining || listener.crowded || this.refusal !== null) this.#codec.shutDown();
    added.start();
  }

  over({ index }: Http2ClientStream): void {
    const last = this.#streams.pop()!;
    if (last.index !== index) {
      this.#streams[index] = last;
      last.index = index;
    }
    if (this.#state === "closed" || this.#streams.length > 0) return;
    this.#becomeIdle();
  }

  #becomeIdle(): void {
    const { listener } = this.context;
    listener.idle(this, true);
    const ends = this.#codec.goingAway || listener.draining;
    this.#idleUntil = listener.wheel.lately + (ends ? LAST_REQUEST_MS : listener.limits.keepAliveMs);
    this.arm(this.#idleUntil);
  }

  onStreamEnd({ owner }: Http2Stream): void {
    (owner as Http2ClientStream | null)?.onStreamEnd();
  }

  onGoAway(): void {
    if (this.#streams.length === 0) this.#closeIdle();
  }

  onFailure({ code }: Http2Error): void {
    if (code === CODE.ENHANCE_YOUR_CALM) this.#lingerBytes = LINGER_FLOOD_BYTES;
    this.#end("The client broke the protocol");
  }

  // --- the end ------------------------------------------------------------------------------------------------------

  arm(dueAt: number): void {
    // The entry in the wheel is not moved while it is early enough: moving it at each request would cost more.
    if (dueAt >= this.#armedFor) return;
    this.#armedFor = dueAt;
    const now = this.context.listener.wheel.lately;
    this.#deadline.set(dueAt - now, now);
  }

  #expired(): void {
    this.#armedFor = Infinity;
    const { wheel, limits: { headMs } } = this.context.listener;
    const now = wheel.lately;
    if (now >= this.#writeUntil || this.#state === "linger") return this.dispose();
    if (this.#state === "last") return this.arm(this.#writeUntil);
    if (now >= this.#codec.blockSince + headMs) {
      this.#codec.fail(CODE.ENHANCE_YOUR_CALM);
      return this.#end("The client sent a head too slowly");
    }
    if (now >= this.#idleUntil) return this.#closeIdle();
    let next = Math.min(this.#writeUntil, this.#codec.blockSince + headMs, this.#idleUntil);
    for (let i = this.#streams.length - 1; i >= 0; i--) {
      // Other streams may end together with the checked one.
      if (i < this.#streams.length) next = Math.min(next, this.#streams[i]!.checkDeadlines(now));
    }
    if (!this.#isClosed && next !== Infinity) this.arm(next);
  }

  #closeIdle(): void {
    this.#codec.fail(CODE.NO_ERROR);
    this.#end("The connection is idle");
  }

  // Waiting output is written, and the client reads it before it sees the end.
  #end(message: string): void {
    if (this.#state !== "open") return;
    this.#state = "last";
    this.#codec.dispose(message);
    // A client that reads nothing must not keep the connection.
    this.arm(this.#writeUntil);
    if (!this.#receiving) this.#flush();
  }

  #linger(): void {
    this.#state = "linger";
    this.#idleUntil = this.context.listener.wheel.lately + LINGER_MS;
    this.arm(this.#idleUntil);
    this.#socket.closeWrite().catch(() => {});
  }

  retire(): void {
    if (this.#state !== "open") return;
    this.#codec.shutDown();
    if (this.#streams.length > 0) return;
    this.#idleUntil = this.context.listener.wheel.lately + LAST_REQUEST_MS;
    this.arm(this.#idleUntil);
  }

  drain(): void {
    if (this.#streams.length === 0) this.dispose();
  }

  refuse(error: ProxyError): void {
    this.refusal = error;
    // It does not count for its client, so it must not stay.
    this.#idleUntil = this.context.listener.wheel.lately + LAST_REQUEST_MS;
    this.arm(this.#idleUntil);
  }

  dispose(): void {
    if (this.#state === "closed") return;
    const idle = this.#streams.length === 0;
    this.#state = "closed";
    this.#deadline.clear();
    this.#codec.dispose("The client closed the connection");
    if (idle) this.context.listener.idle(this, false);
    try {
      this.#socket.close();
    } catch {
      // The runtime closes a failed socket itself.
    }
    this.context.listener.closed(this);
  }
}

const NOTHING: Bytes = new Uint8Array(0);
