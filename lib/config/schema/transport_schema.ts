/** The schema of how servers are spoken to. */

import * as v from "valibot";
import { parseProxy, PROXY_EXPECTED } from "../../transport/outbound_proxy.ts";
import {
  type ConnectionOptions,
  findTransportProblems,
  PROTOCOL_NAMES,
  TRANSPORT_NAMES,
  type TransportOptions,
} from "../../transport/select_transport.ts";
import { positiveDurationSchema } from "./duration_schema.ts";
import { mustBe, oneOf } from "./messages.ts";
import { limitSchema } from "./number_schema.ts";
import { isRecord, optionsObject, pathItem } from "./options_object.ts";

const connectionEntries = {
  maxIdle: v.optional(limitSchema(0)),
  idleTimeout: v.optional(positiveDurationSchema),
} satisfies Record<keyof ConnectionOptions, v.GenericSchema>;

/** Options of a pool that say how its servers are spoken to. */
export const transportEntries = {
  transport: v.optional(v.picklist(TRANSPORT_NAMES, mustBe(oneOf(TRANSPORT_NAMES)))),
  protocol: v.optional(v.picklist(PROTOCOL_NAMES, mustBe(oneOf(PROTOCOL_NAMES)))),
  proxy: v.optional(
    v.custom<string>(
      (value) => typeof value === "string" && parseProxy(value) !== undefined,
      mustBe(PROXY_EXPECTED),
    ),
  ),
  connections: v.optional(optionsObject(connectionEntries, "an object with limits of connections")),
} satisfies Record<keyof TransportOptions, v.GenericSchema>;

/** Finds options of a pool that contradict each other. */
export function checkTransport(
  pool: Record<string, unknown>,
  addIssue: v.RawCheckContext<unknown>["addIssue"],
): void {
  const { transport, protocol, proxy } = pool as TransportOptions;
  const connections = isRecord(pool.connections) ? pool.connections as ConnectionOptions : undefined;
  const options = { transport, protocol, proxy, connections } as TransportOptions;
  for (const { path: [first, second], message } of findTransportProblems(options)) {
    const outer = pathItem(pool, first!);
    addIssue({ message, path: second === undefined ? [outer] : [outer, pathItem(pool.connections, second)] });
  }
}
