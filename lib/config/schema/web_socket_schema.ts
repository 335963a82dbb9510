/** The rules of how WebSockets are forwarded. */

import {
  DURATION_ABOVE_0,
  isRecord,
  must,
  object,
  orFalse,
  type Report,
  type Rule,
} from "../../core/options.ts";
import { BYTE_SIZE_EXPECTED, parseByteSize } from "../../core/units.ts";
import type { WebSocketOptions } from "../../transport/websocket/web_socket_options.ts";

/** The runtime itself gives up on a client whose message is as long as this (Deno 2.9.6: "Frame too large"). */
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
}, "false or an object with options of WebSockets"));

/** Finds WebSockets that cannot be forwarded the way that the pool is reached. */
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
