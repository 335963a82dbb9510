/** How WebSockets are forwarded. */

import { type ByteSize, parseByteSize } from "../../core/byte_size.ts";
import { type Duration, parseDuration } from "../../core/duration.ts";

/** What a pool says of WebSockets. */
export interface WebSocketOptions {
  /**
   * How long nothing of a message may come or leave; a server's pings count, a client's pings and all pongs do
   * not. Without it for as long as both sides are there.
   */
  idleTimeout?: Duration;
  /**
   * How often both sides are asked whether they are there. Who says nothing for as long again is cut off, but not before the
   * time is over that what was sent before the ping takes at 8 kB a second. @default {"30s"}
   */
  pingInterval?: Duration;
  /**
   * Longest message, in either direction; a longer one closes the WebSocket with 1009, and one of a server in more than
   * 262,144 frames with 1008. @default {"16MiB"}
   */
  maxMessageSize?: ByteSize;
  /**
   * How much of a client's messages may wait for a server that takes them slowly, before the WebSocket is closed with
   * 1013; the runtime cannot make a client wait. Servers are made to wait for slow clients. @default {"16MiB"}
   */
  maxBuffered?: ByteSize;
}

/** The same, complete. */
export interface ResolvedWebSocket {
  readonly idleTimeoutMs: number;
  readonly pingIntervalMs: number;
  readonly maxMessageBytes: number;
  readonly maxBufferedBytes: number;
}

/** Completes options that are known to be good. */
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
