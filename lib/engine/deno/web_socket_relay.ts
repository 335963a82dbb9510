/** Hands messages from a client to a server and back. */

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

/** What a relay takes in addition to the client. */
interface WebSocketRelayOptions extends TunnelOptions {
  readonly tunnel: Tunnel;
  /** Told of bytes of messages that were sent to the client. */
  readonly sent: (bytes: number) => void;
  /** Told once both sides are closed. */
  readonly ended: (failure: ProxyError | null) => void;
}

/**
 * Gives a client the WebSocket that a server has agreed to, with the fields of the server's response, the subprotocol
 * among them.
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
    if (!staysBehind(name)) response.headers.append(name, value);
  }
  new WebSocketRelay(socket, options);
  return response;
}

/** What belongs to the server's side of the handshake, or is written by the runtime. */
function staysBehind(name: string): boolean {
  return isHopByHop(name) || name === "sec-websocket-accept" || name === "content-length" || name === "date";
}

/** How often a client is looked at that a server waits for; the runtime does not tell. */
const DRAIN_LOOK_MS = 20;
/** How long the runtime may take to open it; it never does for a copy of its request, and does not say so (Deno 2.9.6). */
const OPEN_MS = 10_000;
/** How long a client may take to respond to a frame of closing. */
const CLOSE_MS = 5000;
/** For how long a client has to send nothing before it is told that it is refused; {@linkcode CLOSE_MS} at most. */
const QUIET_MS = 250;
/** How long it may take to respond when the proxy stops, which waits for a second. */
const LAST_WORDS_MS = 500;

/** A WebSocket on its way through the proxy; settles its exchange once both sides are closed. */
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
    this.#drain = wheel.deadline(() => this.#lookAtClient());
    this.#refusing = wheel.deadline(() => this.#closeClient(1000, ""));
    const { maxMessageBytes, pingIntervalMs } = options;
    this.#server = new ServerWebSocket({ tunnel, wheel, listener: this, maxMessageBytes, pingIntervalMs });
    this.#pings = new ClientPings({ client, wheel, intervalMs: pingIntervalMs });
    client.binaryType = "arraybuffer";
    client.onopen = () => this.#open();
    client.onmessage = ({ data }) => this.#fromClient(data);
    client.onclose = ({ code, reason }) => this.#onClientClose(code, reason);
    // One that never opens is not closed either.
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
      if (!(reason instanceof StoppingError)) this.#closeBoth(1001, "", LAST_WORDS_MS);
      else if (reason.hurried) this.#closeBoth(1001, "the proxy stops", LAST_WORDS_MS);
      else this.#closeBoth(1001, "the configuration was replaced");
    });
  }

  #keepAlive(): void {
    if (this.#options.idleTimeoutMs !== Infinity) this.#idle.set(this.#options.idleTimeoutMs);
  }

  #closeIdle(): void {
    // A client may be on its way through a long message, of which the runtime does not tell how much has left; or some of
    // what waits has left since the last look.
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
    this.#drain.set(DRAIN_LOOK_MS);
    return promise;
  }

  #lookAtClient(): void {
    const { bufferedAmount, readyState } = this.#client;
    if (this.#backlog.shrinks(bufferedAmount)) this.#keepAlive();
    if (!this.#backlog.hasRoom && readyState === WebSocket.OPEN) {
      this.#drain.set(DRAIN_LOOK_MS);
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
    // What has no code of its own on the wire is a failure behind the proxy.
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
      // The runtime takes a close frame of any length, and has responded to it already (Deno 2.9.6).
      this.#failure ??= brokenByClient("a control frame is too long");
      this.#endServer();
    } else if (hasCode) this.#server.close(code, reason);
    // A client that has gone without a word, for which the runtime says 0: the server sees just the same.
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

  // A client's message that finds the runtime closing has it drop the connection, and the frame of closing with it (Deno 2.9.6).
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
    // One that is closing already gets no more time, but may get less.
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

// What waits for a client within the process.

/** How much may wait before the server is made to wait. */
const MOST_BYTES = 1024 * 1024;
/** How many messages may: the runtime keeps a kilobyte for each (Deno 2.9.6), and counts only their content. */
const MOST_MESSAGES = 8192;

/**
 * Finds out how many messages wait for a client, of which the runtime tells only the bytes: where none wait, the last
 * message that has any is gone, and those before it. Of empty messages behind it there is no telling.
 */
export class ClientBacklog {
  #bytes = 0;
  #messages = 0;
  #lastEmpty = 0;

  /** Notes a message that was handed to the runtime, and the bytes that wait now, its own among them. */
  sent(bytes: number, waitingBytes: number): void {
    this.#messages = 1 + (waitingBytes <= bytes ? this.#lastEmpty : this.#messages);
    this.#lastEmpty = bytes === 0 ? this.#lastEmpty + 1 : 0;
    this.#bytes = waitingBytes;
  }

  /** Whether the server has to wait until it {@linkcode hasRoom} again. */
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

  /** Whether so much has left that the server may go on; after nothing but empty messages, one with each look. */
  get hasRoom(): boolean {
    return this.#bytes === 0 || (this.#bytes <= MOST_BYTES / 2 && this.#messages < MOST_MESSAGES);
  }
}

// Keeps the runtime from giving up on a client that is slow.

/**
 * Restarts the runtime's wait for a sign of the client, as the runtime does when a message or a pong comes (Deno 2.9.6). It
 * is not public, and the only way: the runtime sends the pings, keeps the pongs to itself, and cuts off by itself. Where
 * it is missing, slow clients are cut off.
 */
const RESTART = Object.getOwnPropertySymbols(WebSocket.prototype)
  .find(({ description }) => description === "[[serverHandleIdleTimeout]]");

/** What a {@linkcode ClientPings} takes. */
interface ClientPingsOptions {
  readonly client: WebSocket;
  readonly wheel: DeadlineWheel;
  /** After how long without a sign of the client the runtime pings it; it cuts it off after as long again. */
  readonly intervalMs: number;
}

/**
 * Has the runtime wait for a client as long as it may be busy with what was sent before a ping.
 *
 * While something waits within the process, no ping may be sent: it would wait as well, and a restart at that time leaves
 * the runtime with a timer that nothing stops. Later pings do go out, and the wait for their pongs is cut short.
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
    this.#deadline = wheel.deadline(() => this.#look());
  }

  /**
   * Notes what was sent to the client.
   *
   * @param waitingBytes how much waits for it within the process
   */
  sent(bytes: number, waitingBytes: number): void {
    const now = this.#wheel.lately;
    const half = this.#intervalMs / 2;
    this.#patience.sent(bytes, now, waitingBytes);
    if (this.#intervalMs === Infinity) return;
    // What is read sooner than that leaves a pong time enough.
    if (!this.#isWaiting && this.#patience.left(now) <= half) return;
    if (!this.#isWaiting || now - this.#restartedAt >= half) this.#restart(now, half);
  }

  /** Whether the client may be busy with what waits for it within the process. */
  get isBusy(): boolean {
    return this.#client.bufferedAmount > 0 && this.#patience.left(this.#wheel.lately) > 0;
  }

  #look(): void {
    this.#isWaiting = false;
    if (this.#client.readyState !== WebSocket.OPEN) return;
    const now = this.#wheel.lately;
    if (this.#client.bufferedAmount > 0) this.#restart(now, this.#intervalMs / 2);
    else if (this.#patience.left(now) > 0) this.#restart(now, this.#intervalMs * 1.25);
  }

  #restart(now: number, lookAgainMs: number): void {
    (this.#client as unknown as Record<symbol, () => void>)[RESTART!]!();
    this.#isWaiting = true;
    this.#restartedAt = now;
    this.#deadline.set(lookAgainMs);
  }

  [Symbol.dispose](): void {
    this.#deadline.clear();
  }
}
