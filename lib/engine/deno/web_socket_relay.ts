/** Hands messages from a client to a server and back. */

import type { CancellationListener } from "../../core/cancellation.ts";
import type { Deadline } from "../../core/deadline_wheel.ts";
import { type ProxyError, RequestError, StoppingError, UpstreamError } from "../../core/errors.ts";
import type { ResponseHead } from "../../http/message.ts";
import { isHopByHop } from "../../http/hop_by_hop.ts";
import type { TunnelOptions } from "../../proxy/client_stream.ts";
import type { Tunnel } from "../../transport/transport.ts";
import { isCloseCode } from "../../transport/websocket/frame.ts";
import {
  ServerWebSocket,
  type ServerWebSocketListener,
} from "../../transport/websocket/server_web_socket.ts";
import type { ResolvedWebSocket } from "../../transport/websocket/web_socket_options.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a relay takes beside the client. */
export interface WebSocketRelayOptions extends TunnelOptions {
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

/** How much may wait for a client before its server is made to wait. */
const HIGH_WATER_BYTES = 1024 * 1024;
/** How often a client is looked at that a server waits for; the runtime does not tell. */
const DRAIN_LOOK_MS = 20;
/** How long a client may take to answer a frame of closing. */
const CLOSE_MS = 5000;
/** The same when the proxy stops, which waits for a second. */
const LAST_WORDS_MS = 500;

/** A WebSocket on its way through the proxy; settles its exchange once both sides are closed. */
export class WebSocketRelay implements ServerWebSocketListener {
  readonly #relay: WebSocketRelayOptions;
  readonly #client: WebSocket;
  readonly #server: ServerWebSocket;
  readonly #options: ResolvedWebSocket;
  readonly #encoder = new TextEncoder();
  readonly #idle: Deadline;
  readonly #clientClosing: Deadline;
  readonly #drain: Deadline;
  readonly #refusing: Deadline;
  #refusal: [code: number, reason: string] | null = null;
  #drained: (() => void) | null = null;
  #clientClosed = false;
  #serverClosed = false;
  #failure: ProxyError | null = null;
  #stopping: CancellationListener | null = null;

  constructor(client: WebSocket, relay: WebSocketRelayOptions) {
    const { wheel, tunnel, webSocket: options } = relay;
    this.#relay = relay;
    this.#client = client;
    this.#options = options;
    this.#idle = wheel.deadline(() => this.#closeBoth(1001, "idle for too long"));
    this.#clientClosing = wheel.deadline(() => this.#clientEnded());
    this.#drain = wheel.deadline(() => this.#lookAtClient());
    this.#refusing = wheel.deadline(() => this.#closeClient(1000, ""));
    const { maxMessageBytes, pingIntervalMs } = options;
    this.#server = new ServerWebSocket({ tunnel, wheel, listener: this, maxMessageBytes, pingIntervalMs });
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
    this.#keepAlive();
    this.#server.start();
    this.#stopping = this.#relay.cancellation.listen((reason) => {
      this.#closeBoth(1001, reason instanceof StoppingError ? "the proxy stops" : "", LAST_WORDS_MS);
    });
  }

  #keepAlive(): void {
    if (this.#options.idleTimeoutMs !== Infinity) this.#idle.set(this.#options.idleTimeoutMs);
  }

  #fromClient(data: string | ArrayBuffer): void {
    if (this.#serverClosed || this.#clientClosed || this.#refusal !== null) return;
    this.#keepAlive();
    const bytes = typeof data === "string" ? this.#encoder.encode(data) : new Uint8Array(data);
    const { maxMessageBytes, maxBufferedBytes } = this.#options;
    if (bytes.length > maxMessageBytes) {
      const reason = `a message is longer than ${maxMessageBytes} bytes`;
      this.#refuse(1009, reason, new RequestError(`The client broke the WebSocket: ${reason}`));
    } else if (this.#server.bufferedBytes > maxBufferedBytes) {
      const reason = "the server takes messages too slowly";
      this.#refuse(1013, reason, brokenOff(reason));
    } else this.#server.send(data instanceof ArrayBuffer ? bytes : data);
  }

  message(data: string | Bytes, bytes: number): Promise<void> | void {
    const client = this.#client;
    if (client.readyState !== WebSocket.OPEN) return;
    this.#keepAlive();
    client.send(data);
    this.#relay.sent(bytes);
    if (client.bufferedAmount <= HIGH_WATER_BYTES) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#drained = resolve;
    this.#drain.set(DRAIN_LOOK_MS);
    return promise;
  }

  #lookAtClient(): void {
    const { bufferedAmount, readyState } = this.#client;
    if (bufferedAmount > HIGH_WATER_BYTES / 2 && readyState === WebSocket.OPEN) {
      this.#drain.set(DRAIN_LOOK_MS);
    } else {
      this.#drained?.();
      this.#drained = null;
    }
  }

  alive(): void {
    this.#keepAlive();
  }

  closed(code: number, reason: string, problem: string | null): void {
    this.#serverClosed = true;
    if (problem !== null && !this.#clientClosed) {
      this.#failure ??= brokenOff(problem);
    }
    // What has no code of its own on the wire, or none that the runtime sends, is a failure behind the proxy.
    if (code === 1006 || code === 1014) this.#closeClient(1011, "the server broke off");
    else this.#closeClient(code, reason);
    this.#settleWhenOver();
  }

  #onClientClose(code: number, reason: string): void {
    if (isCloseCode(code) || code === 1005) this.#server.close(code, reason);
    // A client that has gone without a word, for which the runtime says 0: the server sees just the same.
    else this.#endServer();
    this.#clientEnded();
  }

  #clientEnded(): void {
    this.#clientClosed = true;
    this.#clientClosing.clear();
    this.#refusing.clear();
    this.#drain.clear();
    this.#drained?.();
    this.#settleWhenOver();
  }

  #endServer(): void {
    this.#server[Symbol.dispose]();
    this.#serverClosed = true;
  }

  // Not at once: a client's next message that finds the runtime closing has it drop the connection, and the frame of
  // closing with it (Deno 2.9.6).
  #refuse(code: number, reason: string, failure: ProxyError): void {
    if (this.#refusal !== null) return;
    this.#failure = failure;
    this.#refusal = [code, reason];
    this.#refusing.set(0);
    this.#server.close(1001, "");
  }

  #closeBoth(code: number, reason: string, withinMs = CLOSE_MS): void {
    this.#closeClient(code, reason, withinMs);
    this.#server.close(code, reason, withinMs);
  }

  #closeClient(code: number, reason: string, withinMs = CLOSE_MS): void {
    const client = this.#client;
    if (this.#clientClosed) return;
    const open = client.readyState === WebSocket.OPEN;
    // One that is closing already gets no more time, but may get less.
    if (open || withinMs < CLOSE_MS) this.#clientClosing.set(withinMs);
    if (!open) return;
    if (this.#refusal !== null) client.close(...this.#refusal);
    else if (code === 1005) client.close();
    else client.close(code, reason);
  }

  #settleWhenOver(): void {
    if (!this.#clientClosed || !this.#serverClosed) return;
    this.#idle.clear();
    this.#drain.clear();
    this.#stopping?.[Symbol.dispose]();
    this.#relay.ended(this.#failure);
  }
}

function brokenOff(problem: string): UpstreamError {
  return new UpstreamError(`The WebSocket to the server broke off: ${problem}`, {
    code: "connection_terminated",
    phase: "answered",
  });
}
