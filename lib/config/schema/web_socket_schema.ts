/** The schema of how WebSockets are forwarded. */

import * as v from "valibot";
import { BYTE_SIZE_EXPECTED, parseByteSize } from "../../core/units.ts";
import type { WebSocketOptions } from "../../transport/websocket/web_socket_options.ts";
import { isRecord, mustBe, optionsObject, pathItem, positiveDurationSchema } from "./schemas.ts";

const WEB_SOCKET_EXPECTED = "false or an object with options of WebSockets";

/** The runtime itself gives up on a client whose message is as long as this (Deno 2.9.6: "Frame too large"). */
const TOO_LONG_BYTES = 64 * 1024 * 1024;

const sizeSchema = v.custom<number | string>(
  (value) => (parseByteSize(value) ?? 0) > 0,
  mustBe(`${BYTE_SIZE_EXPECTED} above 0`),
);

const entries = {
  idleTimeout: v.optional(positiveDurationSchema),
  pingInterval: v.optional(positiveDurationSchema),
  maxMessageSize: v.optional(
    v.pipe(
      sizeSchema,
      v.check((value) => parseByteSize(value)! < TOO_LONG_BYTES, mustBe('less than "64MiB"')),
    ),
  ),
  maxBuffered: v.optional(sizeSchema),
} satisfies Record<keyof WebSocketOptions, v.GenericSchema>;

const optionsSchema = optionsObject(entries, WEB_SOCKET_EXPECTED);

/** `false` or the options. */
export const webSocketSchema: v.GenericSchema = v.lazy((input) =>
  input === false ? v.literal(false) : optionsSchema
);

/** Finds WebSockets that cannot be forwarded the way that the pool is reached. */
export function checkWebSocket(
  pool: Record<string, unknown>,
  addIssue: v.RawCheckContext<unknown>["addIssue"],
): void {
  if (pool.proxy === undefined || !isRecord(pool.webSocket)) return;
  addIssue({
    message: 'must be left out or false where there is a "proxy", through which WebSockets are not forwarded',
    path: [pathItem(pool, "webSocket")],
  });
}
