/** Relays messages between a client and a server. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import { type ProxyError, RequestError, StoppingError, UpstreamError } from "../../core/errors.ts";
import { isHopByHop } from "../../http/proxy_fields.ts";
import type { Bytes, ResponseHead } from "../../http/message.ts";
import type { TunnelOptions } from "../../proxy/client_stream.ts";
import type { Tunnel } from "../../transport/transport.ts";
import { isCloseCode, MAX_CLOSE_REASON_BYTES, NO_CLOSE_CODE } from "../../transport/websocket/frame.ts";
import {
  ServerWebSocket,
  type ServerWebSocketListener,
} from "../../transport/websocket/server_web_socket.ts";
import { Patience, type ResolvedWebSocket } from "../../transport/websocket/web_socket_options.ts";

/** Options of a relay. */
interface WebSocketRelayOptions extends TunnelOptions {
  readonly tunnel: Tunnel;
  /** Called with the bytes of messages that were sent to the client. */
  readonly sent: (bytes: number) => void;
  /** Called once both sides are closed. */
  readonly ended: (failure: ProxyError | null) => void;
}

/**
 * Opens the client's side of a WebSocket that a server has accepted, with the fields of the server's response,
 * including the subprotocol.
 */
export function upgradeWebSocket(
  request: Request,
  { headers }: ResponseHead,
  options: WebSocketRelayOptions,
): Response {
  const { pingIntervalMs } = options.webSocket;
  const idleTimeout = pingIntervalMs === Infinity ? 0 : pingIntervalMs * 2 / 1000;
  const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout });
  for (const [name, value] of headers) {
    if (!isLeftOut(name)) response.headers.append(name, value);
  }
  new WebSocketRelay(socket, options);
  return response;
}

/** Fields of the server's side of the handshake, and fields that the runtime writes. */
function isLeftOut(name: string): boolean {
  return isHopByHop(name) || name === "sec-websocket-accept" || name === "content-length" || name === "date";
}

/** How often a slow client is checked while the server is paused; the runtime does not report progress. */
const DRAIN_CHECK_MS = 20;
/** How long the runtime may take to open it; it never does for a copy of its request, without an error (Deno 2.9.6). */
const OPEN_MS = 10_000;
/** How long a client may take to respond to a close frame. */
const CLOSE_MS = 5000;
/** How long a refused client must be silent before the close frame is sent; {@linkcode CLOSE_MS} at most. */
const QUIET_MS = 250;
/** How long a client may take to respond when the proxy stops, which waits for a second. */
const STOP_CLOSE_MS = 500;

/** A WebSocket through the proxy; settles its exchange once both sides are closed. */
export class WebSocketRelay implements ServerWebSocketListener {
  readonly #relay: WebSocketRelayOptions;
  readonly #client: WebSocket;
  readonly #server: ServerWebSocket;
  readonly #options: ResolvedWebSocket;
  readonly #backlog = new ClientBacklog();
  readonly #encoder = new TextEncoder();
  readonly #opening: Deadline;
  readonly #idle: Deadline;
  readonly #clientClosing: Deadline;
  readonly #drain: Deadline;
  readonly #refusing: Deadline;
  readonly #pings: ClientPings;
  #refusal: [code: number, reason: string] | null = null;
  #refusedAt = 0;
  #drained: (() => void) | null = null;
  #clientClosed = false;
  #serverEnded = false;
  #serverClosed = false;
  #failure: ProxyError | null = null;
  #stopping: Disposable | null = null;

  constructor(client: WebSocket, relay: WebSocketRelayOptions) {
    const { wheel, tunnel, webSocket: options } = relay;
    this.#relay = relay;
    this.#client = client;
    this.#options = options;
    this.#opening = wheel.deadline(() => this.#onClientClose(1006, ""));
    this.#opening.set(OPEN_MS);
    this.#idle = wheel.deadline(() => this.#closeIdle());
    this.#clientClosing = wheel.deadline(() => this.#clientEnded());
    this.#drain = wheel.deadline(() => this.#checkClient());
    this.#refusing = wheel.deadline(() => this.#closeClient(1000, ""));
    const { maxMessageBytes, pingIntervalMs } = options;
    this.#server = new ServerWebSocket({ tunnel, wheel, listener: this, maxMessageBytes, pingIntervalMs });
    this.#pings = new ClientPings({ client, wheel, intervalMs: pingIntervalMs });
    client.binaryType = "arraybuffer";
    client.onopen = () => this.#open();
    client.onmessage = ({ data }) => this.#fromClient(data);
    client.onclose = ({ code, reason }) => this.#onClientClose(code, reason);
    // A WebSocket that never opens is not closed either.
    client.onerror = () => {
      if (client.readyState === WebSocket.CONNECTING) this.#onClientClose(1006, "");
    };
  }

  #open(): void {
    if (this.#clientClosed) return;
    this.#opening.clear();
    this.#keepAlive();
    this.#server.start();
    this.#stopping = this.#relay.cancellation.listen((reason) => {
      if (!(reason instanceof StoppingError)) this.#closeBoth(1001, "", STOP_CLOSE_MS);
      else if (reason.hurried) this.#closeBoth(1001, "the proxy stops", STOP_CLOSE_MS);
      else this.#closeBoth(1001, "the configuration was replaced");
    });
  }

  #keepAlive(): void {
    if (this.#options.idleTimeoutMs !== Infinity) this.#idle.set(this.#options.idleTimeoutMs);
  }

  #closeIdle(): void {
    // A client may be receiving a long message, whose progress the runtime does not report; or some of the waiting
    // bytes were sent since the last check.
    const hasLeft = this.#drained !== null && this.#backlog.shrinks(this.#client.bufferedAmount);
    if (hasLeft || this.#pings.isBusy) this.#keepAlive();
    else this.#closeBoth(1001, "idle for too long");
  }

  #fromClient(data: string | ArrayBuffer): void {
    if (this.#refusal !== null) return this.#waitForQuiet();
    if (this.#serverEnded || this.#clientClosed) return;
    this.#keepAlive();
    const isText = typeof data === "string";
    const bytes = isText ? this.#encoder.encode(data) : new Uint8Array(data);
    const { maxMessageBytes, maxBufferedBytes } = this.#options;
    if (bytes.length > maxMessageBytes) {
      const reason = `a message is longer than ${maxMessageBytes} bytes`;
      this.#refuse(1009, reason, brokenByClient(reason));
    } else if (this.#server.bufferedBytes > maxBufferedBytes) {
      const reason = "the server takes messages too slowly";
      this.#refuse(1013, reason, brokenOff(reason), CLOSE_MS);
    } else this.#server.send(bytes, isText);
  }

  message(data: string | Bytes, bytes: number): Promise<void> | void {
    const client = this.#client;
    if (client.readyState !== WebSocket.OPEN) return;
    client.send(data);
    this.#relay.sent(bytes);
    const waitingBytes = client.bufferedAmount;
    this.#backlog.sent(bytes, waitingBytes);
    this.#pings.sent(bytes, waitingBytes);
    if (!this.#backlog.isFull) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#drained = resolve;
    this.#drain.set(DRAIN_CHECK_MS);
    return promise;
  }

  #checkClient(): void {
    const { bufferedAmount, readyState } = this.#client;
    if (this.#backlog.shrinks(bufferedAmount)) this.#keepAlive();
    if (!this.#backlog.hasRoom && readyState === WebSocket.OPEN) {
      this.#drain.set(DRAIN_CHECK_MS);
    } else {
      this.#drained?.();
      this.#drained = null;
    }
  }

  alive(): void {
    this.#keepAlive();
  }

  ended(code: number, reason: string, problem: string | null): void {
    this.#serverEnded = true;
    if (problem !== null && !this.#clientClosed) {
      this.#failure ??= brokenOff(problem);
    }
    if (this.#refusal !== null) return;
    // A code that cannot be sent means a failure behind the proxy.
    if (code === 1006) this.#closeClient(1011, "the server broke off");
    else this.#closeClient(code, reason);
  }

  closed(): void {
    this.#serverClosed = true;
    this.#settleWhenOver();
  }

  #onClientClose(code: number, reason: string): void {
    const hasCode = isCloseCode(code) || code === NO_CLOSE_CODE;
    if (hasCode && this.#encoder.encode(reason).length > MAX_CLOSE_REASON_BYTES) {
      // The runtime accepts a close frame of any length, and has already responded to it (Deno 2.9.6).
      this.#failure ??= brokenByClient("a control frame is too long");
      this.#endServer();
    } else if (hasCode) this.#server.close(code, reason);
    // A client that has closed without a close frame, for which the runtime reports 0: the server sees the same.
    else this.#endServer();
    this.#clientEnded();
  }

  #clientEnded(): void {
    this.#clientClosed = true;
    this.#opening.clear();
    this.#clientClosing.clear();
    this.#refusing.clear();
    this.#drain.clear();
    this.#drained?.();
    this.#settleWhenOver();
  }

  #endServer(): void {
    this.#server[Symbol.dispose]();
    this.#serverEnded = this.#serverClosed = true;
  }

  #refuse(code: number, reason: string, failure: ProxyError, withinMs?: number): void {
    this.#failure = failure;
    this.#refusal = [code, reason];
    this.#refusedAt = this.#relay.wheel.lately;
    this.#waitForQuiet();
    this.#server.close(1001, "", withinMs);
  }

  // If a message of the client arrives while the runtime is closing, the runtime drops the connection before the
  // close frame is sent (Deno 2.9.6).
  #waitForQuiet(): void {
    const waited = this.#relay.wheel.lately - this.#refusedAt;
    if (!this.#clientClosed && waited < CLOSE_MS) this.#refusing.set(QUIET_MS);
  }

  #closeBoth(code: number, reason: string, withinMs?: number): void {
    this.#closeClient(code, reason, withinMs);
    this.#server.close(code, reason, withinMs);
  }

  #closeClient(code: number, reason: string, withinMs?: number): void {
    const client = this.#client;
    if (this.#clientClosed) return;
    const open = client.readyState === WebSocket.OPEN;
    // A WebSocket that is already closing gets no more time, but may get less.
    if (open || withinMs !== undefined) this.#clientClosing.set(withinMs ?? CLOSE_MS);
    if (!open) return;
    if (this.#refusal !== null) client.close(...this.#refusal);
    else if (code === NO_CLOSE_CODE) client.close();
    else client.close(code, reason);
  }

  #settleWhenOver(): void {
    if (!this.#clientClosed || !this.#serverClosed) return;
    this.#idle.clear();
    this.#drain.clear();
    this.#pings[Symbol.dispose]();
    this.#stopping?.[Symbol.dispose]();
    this.#relay.ended(this.#failure);
  }
}

function brokenByClient(problem: string): RequestError {
  return new RequestError(`The client broke the WebSocket: ${problem}`);
}

function brokenOff(problem: string): UpstreamError {
  return new UpstreamError(`The WebSocket to the server broke off: ${problem}`, {
    code: "connection_terminated",
    phase: "answered",
  });
}

// Messages that wait for a client within the process.

/** Most waiting bytes before the server is paused. */
const MOST_BYTES = 1024 * 1024;
/** Most waiting messages: the runtime needs a kilobyte for each (Deno 2.9.6), and counts only their content. */
const MOST_MESSAGES = 8192;

/**
 * Estimates how many messages wait for a client, since the runtime reports only bytes: if none wait, the last
 * non-empty message was sent, and those before it. Empty messages after it cannot be counted.
 */
export class ClientBacklog {
  #bytes = 0;
  #messages = 0;
  #lastEmpty = 0;

  /** Notes a message that was passed to the runtime, and the bytes that wait now, including its own. */
  sent(bytes: number, waitingBytes: number): void {
    this.#messages = 1 + (waitingBytes <= bytes ? this.#lastEmpty : this.#messages);
    this.#lastEmpty = bytes === 0 ? this.#lastEmpty + 1 : 0;
    this.#bytes = waitingBytes;
  }

  /** Whether the server must be paused until {@linkcode hasRoom}. */
  get isFull(): boolean {
    return this.#bytes > MOST_BYTES || this.#messages >= MOST_MESSAGES;
  }

  /**
   * Notes the bytes that wait now.
   *
   * @returns whether they are fewer than before
   */
  shrinks(waitingBytes: number): boolean {
    const isLess = waitingBytes < this.#bytes;
    this.#bytes = waitingBytes;
    if (waitingBytes === 0) this.#messages = this.#lastEmpty;
    return isLess;
  }

  /** Whether enough was sent to resume the server; after only empty messages, one is allowed with each check. */
  get hasRoom(): boolean {
    return this.#bytes === 0 || (this.#bytes <= MOST_BYTES / 2 && this.#messages < MOST_MESSAGES);
  }
}

// Prevents the runtime from closing slow clients.

/**
 * Restarts the runtime's idle timeout of a client, as the runtime does when a message or a pong is received (Deno
 * 2.9.6). It is not public, but the only way: the runtime sends pings, hides pongs, and closes the connection itself.
 * Without it, slow clients are closed.
 */
const RESTART = Object.getOwnPropertySymbols(WebSocket.prototype)
  .find(({ description }) => description === "[[serverHandleIdleTimeout]]");

/** Options of a {@linkcode ClientPings}. */
interface ClientPingsOptions {
  readonly client: WebSocket;
  readonly wheel: DeadlineWheel;
  /**
   * After this time without bytes from the client the runtime pings it; after the same time again it closes the
   * connection.
   */
  readonly intervalMs: number;
}

/**
 * Makes the runtime wait for a client as long as it may be busy with bytes sent before a ping.
 *
 * While bytes wait within the process, no ping may be sent: it would wait too, and a restart at that time leaves the
 * runtime with a timer that cannot be stopped. Later pings are sent, and the wait for their pongs is shortened.
 */
export class ClientPings implements Disposable {
  readonly #client: WebSocket;
  readonly #wheel: DeadlineWheel;
  readonly #intervalMs: number;
  readonly #patience = new Patience();
  readonly #deadline: Deadline;
  #restartedAt = 0;
  #isWaiting = false;

  constructor({ client, wheel, intervalMs }: ClientPingsOptions) {
    this.#client = client;
    this.#wheel = wheel;
    this.#intervalMs = RESTART === undefined ? Infinity : intervalMs;
    this.#deadline = wheel.deadline(() => this.#check());
  }

  /**
   * Notes bytes sent to the client.
   *
   * @param waitingBytes how many bytes wait for it within the process
   */
  sent(bytes: number, waitingBytes: number): void {
    const now = this.#wheel.lately;
    const half = this.#intervalMs / 2;
    this.#patience.sent(bytes, now, waitingBytes);
    if (this.#intervalMs === Infinity) return;
    // Bytes that are received sooner leave enough time for a pong.
    if (!this.#isWaiting && this.#patience.left(now) <= half) return;
    if (!this.#isWaiting || now - this.#restartedAt >= half) this.#restart(now, half);
  }

  /** Whether the client may be busy with bytes that wait for it within the process. */
  get isBusy(): boolean {
    return this.#client.bufferedAmount > 0 && this.#patience.left(this.#wheel.lately) > 0;
  }

  #check(): void {
    this.#isWaiting = false;
    if (this.#client.readyState !== WebSocket.OPEN) return;
    const now = this.#wheel.lately;
    if (this.#client.bufferedAmount > 0) this.#restart(now, this.#intervalMs / 2);
    else if (this.#patience.left(now) > 0) this.#restart(now, this.#intervalMs * 1.25);
  }

  #restart(now: number, checkAgainMs: number): void {
    (this.#client as unknown as Record<symbol, () => void>)[RESTART!]!();
    this.#isWaiting = true;
    this.#restartedAt = now;
    this.#deadline.set(checkAgainMs);
  }

  [Symbol.dispose](): void {
    this.#deadline.clear();
  }
}
