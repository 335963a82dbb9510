/** How WebSockets are forwarded. */

import {
  DURATION_ABOVE_0,
  isRecord,
  must,
  object,
  orFalse,
  type Report,
  type Rule,
} from "../../core/options.ts";
import {
  BYTE_SIZE_EXPECTED,
  type ByteSize,
  type Duration,
  parseByteSize,
  parseDuration,
} from "../../core/units.ts";

/**
 * WebSockets of a pool.
 *
 * @example Messages of at most 1 MiB, and a connection without messages for ten minutes is closed
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: {
 *     servers: ["127.0.0.1:9001"],
 *     webSocket: { maxMessageSize: "1MiB", idleTimeout: "10m" },
 *   },
 * });
 * ```
 */
export interface WebSocketOptions {
  /**
   * How long no part of a message may be received or sent; pings of the server count, pings of the client and all
   * pongs do not. Without it there is no idle limit.
   *
   * @default {none}
   */
  idleTimeout?: Duration;
  /**
   * How often both sides get a ping. A side that sends nothing until the next ping is due is closed. Data that was
   * sent before the ping has time to arrive at 8 kB a second. @default {"30s"}
   */
  pingInterval?: Duration;
  /**
   * Longest message, in either direction; a longer one closes the WebSocket with 1009. A message of a server in more
   * than 262,144 frames closes it with 1008. @default {"16MiB"}
   */
  maxMessageSize?: ByteSize;
  /**
   * How many bytes of a client's messages may wait for a slow server before the WebSocket is closed with 1013; the
   * runtime cannot pause the client. A fast server is paused for a slow client. @default {"16MiB"}
   */
  maxBuffered?: ByteSize;
}

/** The runtime closes the connection of a client whose message has this length (Deno 2.9.6: "Frame too large"). */
const TOO_LONG_BYTES = 64 * 1024 * 1024;

const isSize = (value: unknown): boolean => (parseByteSize(value) ?? 0) > 0;
const SIZE_EXPECTED = `${BYTE_SIZE_EXPECTED} above 0`;

/** `false` or the options. */
export const WEB_SOCKET: Rule = orFalse(object<WebSocketOptions>({
  idleTimeout: DURATION_ABOVE_0,
  pingInterval: DURATION_ABOVE_0,
  maxMessageSize: must(
    (value) => isSize(value) && parseByteSize(value)! < TOO_LONG_BYTES,
    (value) => isSize(value) ? 'less than "64MiB"' : SIZE_EXPECTED,
  ),
  maxBuffered: must(isSize, SIZE_EXPECTED),
}, 'false or an object such as { idleTimeout: "5m" }; WebSockets are forwarded without it'));

/** Reports WebSockets that cannot be forwarded through a proxy. */
export function checkWebSocket(
  pool: { readonly proxy?: unknown; readonly webSocket?: unknown },
  report: Report,
): void {
  if (pool.proxy === undefined || !isRecord(pool.webSocket)) return;
  report(
    'must be left out or false where there is a "proxy", through which WebSockets are not forwarded',
    "webSocket",
  );
}

/** The options in resolved form. */
export interface ResolvedWebSocket {
  readonly idleTimeoutMs: number;
  readonly pingIntervalMs: number;
  readonly maxMessageBytes: number;
  readonly maxBufferedBytes: number;
}

/** Fills in the defaults of validated options. */
export function resolveWebSocket(options: WebSocketOptions = {}): ResolvedWebSocket {
  const { idleTimeout, pingInterval = "30s" } = options;
  const { maxMessageSize = "16MiB", maxBuffered = "16MiB" } = options;
  return Object.freeze({
    idleTimeoutMs: idleTimeout === undefined ? Infinity : parseDuration(idleTimeout)!,
    pingIntervalMs: parseDuration(pingInterval)!,
    maxMessageBytes: parseByteSize(maxMessageSize)!,
    maxBufferedBytes: parseByteSize(maxBuffered)!,
  });
}

// How long a slow peer may be silent.

/** A peer that receives less than this per second is treated as dead. */
const SLOWEST_BYTES_PER_MS = 8;
/** Most unsent bytes that the sockets of both ends may hold: the largest send buffer of common systems. */
const MOST_UNSEEN_BYTES = 4 * 1024 * 1024;

/**
 * Estimates until when a peer may be busy with sent bytes before it reaches a ping. A proxy cannot see the bytes in
 * the sockets, so it uses the sent bytes and the slowest allowed peer.
 */
export class Patience {
  #until = 0;
  #sinceAsked = 0;

  /**
   * Notes sent bytes.
   *
   * @param now in milliseconds
   * @param queuedBytes how many of them still wait within the proxy
   */
  sent(bytes: number, now: number, queuedBytes = 0): void {
    const until = Math.max(this.#until, now) + bytes / SLOWEST_BYTES_PER_MS;
    this.#until = Math.min(until, now + (queuedBytes + MOST_UNSEEN_BYTES) / SLOWEST_BYTES_PER_MS);
    this.#sinceAsked += bytes;
  }

  /** Notes that a ping was sent at this point. */
  asked(): void {
    this.#sinceAsked = 0;
  }

  /** Notes a pong to the last ping: only bytes sent since can keep the peer busy. */
  responded(now: number): void {
    this.#until = Math.min(this.#until, now + this.#sinceAsked / SLOWEST_BYTES_PER_MS);
  }

  /** For how many milliseconds from now on the peer may be busy. */
  left(now: number): number {
    return Math.max(0, this.#until - now);
  }
}
