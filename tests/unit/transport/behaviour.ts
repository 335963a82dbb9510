/** What every test of a transport is made of. */

import { assert } from "@std/assert";
import { Cancellation, DeadlineWheel } from "../../../lib/core/cancellation.ts";
import { systemClock } from "../../../lib/core/clock.ts";
import {
  ClientGoneError,
  type ProxyError,
  UpstreamError,
  type UpstreamErrorCode,
} from "../../../lib/core/errors.ts";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import type { Body, Bytes, RequestBody } from "../../../lib/http/message.ts";
import {
  sendRequest,
  type ServerResponse,
  type Timeouts,
  type Transport,
} from "../../../lib/transport/transport.ts";
import { mayRepeatOnNewConnection } from "../../../lib/proxy/decide_retry.ts";
import { parseAddress, type Peer, type PeerTls } from "../../../lib/upstream/peer.ts";
import { Http2Bridge } from "../../support/http2_bridge.ts";
import { latin1Text } from "../../support/raw_connection.ts";
import type { Ability, TestedTransport } from "./tested_transports.ts";

/** Something that every transport does, or a reason in `needs` why one does not. */
export interface Behaviour {
  name: string;
  needs?: readonly Ability[];
  run(bench: Bench): Promise<void>;
}

/** What {@linkcode Bench.send} takes; everything has a default. */
export interface SendInput extends Partial<Timeouts> {
  method?: string;
  target?: string;
  headers?: readonly [string, string][];
  body?: RequestBody | null;
  cancellation?: Cancellation;
  startedAt?: number;
  /** Told once when content that was handed out as a stream is over, and why it broke off. */
  onBodyEnd?: (bytes: number, failure: ProxyError | null) => void;
}

/** Long enough for every machine, short enough to end a test that hangs. */
const PATIENT: Timeouts = {
  connectMs: 20_000,
  tlsMs: 20_000,
  responseMs: 20_000,
  idleMs: 20_000,
  totalMs: 60_000,
};

/** A transport on its own, with what it needs to work. */
export class Bench implements Disposable {
  readonly wheel = new DeadlineWheel({ clock: systemClock, tickMs: 5 });
  readonly tested: TestedTransport;
  readonly transport: Transport;
  readonly #bridges = new Map<Peer, Http2Bridge>();

  constructor(tested: TestedTransport) {
    this.tested = tested;
    this.transport = tested.create(this.wheel);
  }

  /** Whether the transport under test can do something that not all can. */
  can(ability: Ability): boolean {
    return !this.tested.cannot.has(ability);
  }

  /** Sends a request: GET / to the host "test.example" unless told otherwise. */
  async send(peer: Peer, input: SendInput = {}): Promise<TestResponse> {
    const { method = "GET", target = "/", headers = [["host", "test.example"]], body = null } = input;
    const { cancellation = new Cancellation(), onBodyEnd, startedAt, ...rest } = input;
    const timeouts: Timeouts = { ...PATIENT, ...pickTimeouts(rest) };
    const response = await sendRequest(
      this.transport,
      { method, target, headers: new HeaderFields(headers), body },
      this.reach(peer),
      {
        timeouts,
        cancellation,
        maySendAgain: (failure) => maySendAgain(failure, method, body),
        ...(startedAt !== undefined && { startedAt }),
      },
    );
    return takeResponse(response, onBodyEnd);
  }

  /** The peer, or the bridge to it for a transport that speaks HTTP/2. */
  reach(peer: Peer): Peer {
    if (this.tested.bridged !== true || peer.tls !== null || NOWHERE.has(peer)) return peer;
    let bridge = this.#bridges.get(peer);
    if (bridge === undefined) this.#bridges.set(peer, bridge = new Http2Bridge(peer));
    return bridge.peer;
  }

  /** Asserts that a failure has this code and phase, as far as the transport under test can know them. */
  async fails(
    attempt: Promise<unknown>,
    code: UpstreamErrorCode | readonly UpstreamErrorCode[],
    phase: UpstreamError["phase"] | readonly UpstreamError["phase"][],
  ): Promise<UpstreamError> {
    const error = await attempt.then(() => null, (error: unknown) => error);
    assert(error instanceof UpstreamError, `Expected an UpstreamError, found ${error}`);
    const codes = typeof code === "string" ? [code] : code;
    const phases = typeof phase === "string" ? [phase] : phase;
    if (this.can("reason of the failure")) {
      assert(codes.includes(error.code), `Expected ${codes}, found ${error.code}: ${error.message}`);
    }
    // A transport that does not know has to assume that the request arrived.
    if (error.phase !== "sent" || this.can("reason of the failure")) {
      assert(phases.includes(error.phase), `Expected ${phases}, found ${error.phase}: ${error.message}`);
    }
    return error;
  }

  /** Asserts that one connection was enough, for a transport that has it free when a body ends. */
  usedOneConnection(upstream: { opened: number }): void {
    assert(upstream.opened === 1 || !this.can("reuse at once"), `${upstream.opened} connections were opened`);
  }

  [Symbol.dispose](): void {
    for (const bridge of this.#bridges.values()) bridge[Symbol.dispose]();
    this.transport[Symbol.dispose]();
    this.wheel[Symbol.dispose]();
  }
}

/** What the proxy says when a kept connection turns out stale. */
export function maySendAgain(failure: UpstreamError, method: string, body: RequestBody | null): boolean {
  return mayRepeatOnNewConnection(failure, method, body === null || body.repeatable);
}

function pickTimeouts(input: Partial<Timeouts>): Partial<Timeouts> {
  const names = ["connectMs", "tlsMs", "responseMs", "idleMs", "eventStreamIdleMs", "totalMs"] as const;
  return Object.fromEntries(names.flatMap((name) => input[name] === undefined ? [] : [[name, input[name]]]));
}

/** A peer at an address as an operator writes it. */
export function peerOf(address: string, tls: Partial<PeerTls> | null = null): Peer {
  const parsed = parseAddress(address);
  if (parsed === undefined) throw new TypeError(`Cannot read the address ${address}`);
  return { address: parsed.address, tls: tls && { serverName: "one.one.one.one", caCerts: [], ...tls } };
}

const NOWHERE = new WeakSet<Peer>();

/** A peer at an address where no server is, to which no bridge leads. */
export function nowhere(address: string): Peer {
  const peer = peerOf(address);
  NOWHERE.add(peer);
  return peer;
}

/** A response as tests look at it: content that came with the head as bytes, everything else as a stream. */
export interface TestResponse {
  readonly status: number;
  readonly statusText: string;
  readonly headers: HeaderFields;
  readonly body: Bytes | ReadableStream<Bytes> | null;
}

/** Takes a response as tests look at it, and lets go of it at its end. */
export function takeResponse(response: ServerResponse, onBodyEnd?: SendInput["onBodyEnd"]): TestResponse {
  const { status, statusText, body } = response;
  const headers = response.headers.clone();
  headers.detach();
  const head = { status, statusText, headers };
  if (body !== null && body.whole === null) return { ...head, body: streamed(response, body, onBodyEnd) };
  const whole = body === null ? null : body.whole!.slice();
  response.release();
  return { ...head, body: whole };
}

function streamed(
  response: ServerResponse,
  body: Body,
  onBodyEnd?: SendInput["onBodyEnd"],
): ReadableStream<Bytes> {
  let bytes = 0;
  const over = (failure: ProxyError | null): void => {
    response.release();
    onBodyEnd?.(bytes, failure);
  };
  return new ReadableStream<Bytes>({
    async pull(controller) {
      try {
        const piece = await body.read();
        if (piece === null) {
          controller.close();
          return over(null);
        }
        bytes += piece.length;
        controller.enqueue(piece.slice());
      } catch (error) {
        controller.error(error);
        over(error as ProxyError);
      }
    },
    cancel: () => over(new ClientGoneError()),
  }, { highWaterMark: 0 });
}

/** The whole content of an answer. */
export async function bodyBytes(response: TestResponse): Promise<Uint8Array<ArrayBuffer>> {
  const { body } = response;
  if (body === null) return new Uint8Array(0);
  return body instanceof Uint8Array ? body : new Uint8Array(await new Response(body).arrayBuffer());
}

/** The whole content of an answer, one character a byte. */
export async function bodyText(response: TestResponse): Promise<string> {
  return latin1Text(await bodyBytes(response));
}

/** The content as a stream, whichever way it came. */
export function bodyStream(response: TestResponse): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { body } = response;
  return body instanceof ReadableStream ? body : new Blob(body === null ? [] : [body]).stream();
}
