/** Checks a server with the gRPC health service (`grpc.health.v1`). */

import { GRPC_STATUS, isGrpc } from "../http/grpc.ts";
import { HeaderFields } from "../http/header_fields.ts";
import type { Bytes } from "../http/message.ts";
import { BufferShelf } from "../http1/head_writer.ts";
import { type ConnectionOwner, Http2Connection } from "../http2/connection.ts";
import type { Http2Error } from "../http2/frame_type.ts";
import { HeadShelf } from "../http2/received_head.ts";
import type { Http2Stream, StreamOwner, StreamReset } from "../http2/stream.ts";
import { formatAddress } from "../upstream/peer.ts";
import type { Server } from "../upstream/server.ts";
import { type Probe, ProbeConnection } from "./probe.ts";

/** The options of gRPC checks only; `ActiveCheckOptions` documents them. */
export interface GrpcCheckRequest {
  service?: string;
  host?: string;
}

const METHOD = "/grpc.health.v1.Health/Check";
const USER_AGENT = "lbproxy-health-check";
/** Maximum size of a response in bytes: a state takes two; the rest is for HTTP/2. */
const MAX_BYTES = 16 * 1024;
const PREFIX_BYTES = 5;
/** States of `HealthCheckResponse.ServingStatus`, in their order. */
const STATES = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/**
 * Makes a probe that calls the health service over a new HTTP/2 connection, opened as for requests with `protocol: "h2"`: by
 * ALPN with TLS, by prior knowledge without. The check passes if the state is `SERVING`.
 *
 * @param port connects to this port; `null` is the port of the server
 */
export function grpcCheck({ service = "", host }: GrpcCheckRequest, port: number | null = null): Probe {
  const message = requestMessage(service);
  return async (server, signal) => {
    const { tls } = server.peer;
    using connection = await ProbeConnection.open(server, { port, tls, alpn: "h2" }, signal);
    const call = new HealthCall(message, host ?? nameOf(server), tls === null ? "http" : "https");
    while (!call.done) {
      if (call.hasOutput) await connection.write(call.takeOutput());
      if (call.done) break;
      const bytes = await connection.read();
      if (bytes === null) throw new Error("the connection was closed before the end of the response");
      call.receive(bytes);
    }
    call.judge();
  };
}

function nameOf({ peer: { address, tls } }: Server): string {
  return tls?.serverName ?? (address.kind === "unix" ? "localhost" : formatAddress(address));
}

/** Encodes a `HealthCheckRequest` (field 1, a string) with the gRPC message prefix. */
function requestMessage(service: string): Bytes {
  const name = new TextEncoder().encode(service);
  const field = name.length === 0 ? [] : [0x0a, ...varint(name.length), ...name];
  return Uint8Array.of(0, ...uint32(field.length), ...field);
}

function uint32(value: number): number[] {
  return [value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255];
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; bytes.length === 0 || rest > 0; rest >>= 7) {
    bytes.push(rest > 127 ? rest & 127 | 128 : rest);
  }
  return bytes;
}

/** Decodes a `HealthCheckResponse`: field 1, a number; 0 if the field is missing. Ignores other fields. */
function stateOf(message: Uint8Array): number {
  if (message.length < PREFIX_BYTES) throw new Error("the response has no message");
  if (message[0] !== 0) throw new Error("the message is compressed, which was not requested");
  const end = PREFIX_BYTES + new DataView(message.buffer, message.byteOffset).getUint32(1);
  if (end !== message.length) throw new Error("the response is not one message");
  for (let at = PREFIX_BYTES; at < end;) {
    const tag = message[at++]!;
    if (tag === 0x08 && at < end && message[at]! < 128) return message[at]!;
    if ((tag & 7) !== 2 || at >= end || message[at]! > 127) break;
    at += 1 + message[at]!;
  }
  return 0;
}

/** One call: the HTTP/2 codec and the stream, without the socket. */
class HealthCall implements ConnectionOwner, StreamOwner {
  done = false;
  readonly #codec: Http2Connection;
  readonly #stream: Http2Stream;
  #failure: string | null = null;
  #received = 0;
  #status: string | null = null;
  #statusMessage: string | null = null;
  #content = new Uint8Array(0);

  constructor(message: Bytes, authority: string, scheme: "http" | "https") {
    this.#codec = new Http2Connection({
      side: "client",
      owner: this,
      buffers: new BufferShelf(),
      heads: new HeadShelf(),
      now: () => 0,
      maxHeadBytes: MAX_BYTES,
      maxFields: 100,
    });
    this.#codec.begin();
    this.#stream = this.#codec.open(this);
    const fields = new HeaderFields([["content-type", "application/grpc"], ["te", "trailers"], [
      "user-agent",
      USER_AGENT,
    ]]);
    this.#stream.request({ method: "POST", scheme, authority, target: METHOD, fields, length: null }, false);
    this.#stream.write(message, 0, message.length, true);
  }

  get hasOutput(): boolean {
    return this.#codec.hasOutput;
  }

  takeOutput(): Bytes {
    return this.#codec.takeOutput();
  }

  receive(bytes: Uint8Array): void {
    this.#received += bytes.length;
    this.#codec.receive(bytes, 0, bytes.length);
    if (this.#received > MAX_BYTES) this.#fail("the response is too long");
    const { content } = this.#stream;
    if (content === null || !content.ended || this.done) return;
    this.#content = content.whole?.slice() ?? this.#content;
    const { trailers } = content;
    for (let i = 0; i < trailers.length; i += 2) this.#setStatus(trailers[i]!, trailers[i + 1]!);
    this.done = true;
  }

  #setStatus(name: string, value: string): void {
    if (name === "grpc-status") this.#status = value;
    if (name === "grpc-message") this.#statusMessage = value;
  }

  /** @throws {Error} with the reason, if the server does not serve */
  judge(): void {
    if (this.#failure !== null) throw new Error(this.#failure);
    if (this.#status === null) throw new Error("the response has no grpc-status");
    if (this.#status !== String(GRPC_STATUS.OK)) {
      const detail = this.#statusMessage === null ? "" : `: ${this.#statusMessage}`;
      throw new Error(`grpc-status ${this.#status}${detail}`);
    }
    const state = stateOf(this.#content);
    if (state !== 1) throw new Error(`the service is ${STATES[state] ?? state}`);
  }

  #fail(reason: string): void {
    this.#failure ??= reason;
    this.done = true;
  }

  onHead(): void {
    const head = this.#stream.head!;
    if (head.malformed !== null || head.excess !== null || !head.isOfResponse) {
      return this.#fail(`the response has ${head.malformed ?? "a head that is none"}`);
    }
    if (head.isInterim) return;
    const fields = new HeaderFields();
    fields.begin(head.lines);
    if (head.status !== 200) return this.#fail(`status ${head.status}`);
    if (!isGrpc(fields.get("content-type"))) return this.#fail("the response is not of gRPC");
    if (!this.#stream.remoteEnded) return;
    for (const name of ["grpc-status", "grpc-message"]) {
      const value = fields.get(name);
      if (value !== null) this.#setStatus(name, value);
    }
    this.done = true;
  }

  onReset({ message }: StreamReset): void {
    this.#fail(message);
  }
  onFailure({ message }: Http2Error): void {
    this.#fail(message);
  }
  onGoAway(): void {}
  onOutput(): void {}
  onStream(): void {}
  onStreamEnd(): void {}
  onRoom(): void {}
  onContentAwaited(): void {}
}
