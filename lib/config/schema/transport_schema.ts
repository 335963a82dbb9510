/** The schema of how servers are spoken to. */

import * as v from "valibot";
import { parseProxy, PROXY_EXPECTED } from "../../transport/outbound_proxy.ts";
import {
  type ConnectionOptions,
  findTransportProblem,
  PROTOCOL_NAMES,
  TRANSPORT_NAMES,
  type TransportOptions,
} from "../../transport/select_transport.ts";
import {
  limitSchema,
  mustBe,
  oneOf,
  optionsObject,
  pathItem,
  positiveDurationSchema,
  unknownKeyMessage,
} from "./schemas.ts";

const connectionEntries = {
  maxIdle: v.optional(limitSchema(0)),
  idleTimeout: v.optional(positiveDurationSchema),
  maxStreams: v.optional(limitSchema(1)),
} satisfies Record<keyof ConnectionOptions, v.GenericSchema>;

const CONNECTIONS_EXPECTED = 'an object with "maxIdle", "idleTimeout" and "maxStreams"';

/** Options that there were before requests had one queue for one overload, and what does it now. */
const REMOVED: Readonly<Record<string, string>> = {
  maxConnections:
    '"maxInFlight" of a server, or of the pool, limits its requests and with them its connections',
  maxQueue: 'requests wait in the "queue" of the pool, and its "size" is how many',
  queueTimeout: 'requests wait in the "queue" of the pool, and its "timeout" is how long',
};

function explainConnectionKey(key: string): string {
  return Object.hasOwn(REMOVED, key)
    ? `is not an option any more: ${REMOVED[key]}`
    : unknownKeyMessage(key, Object.keys(connectionEntries));
}

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
  sendProxyProtocol: v.optional(v.picklist([1, 2], mustBe("1 or 2"))),
  connections: v.optional(optionsObject(connectionEntries, CONNECTIONS_EXPECTED, explainConnectionKey)),
} satisfies Record<keyof TransportOptions, v.GenericSchema>;

/** Finds options of a pool that contradict each other. */
export function checkTransport(
  pool: Record<string, unknown>,
  addIssue: v.RawCheckContext<unknown>["addIssue"],
): void {
  const { transport, protocol, proxy, sendProxyProtocol } = pool;
  if (sendProxyProtocol !== undefined) {
    const byFetch = transport === "fetch"
      ? '"transport" is "fetch"'
      : proxy === undefined
      ? null
      : 'there is a "proxy"';
    const message = `must not stand where ${byFetch}: "fetch" sends no PROXY headers`;
    if (byFetch !== null) addIssue({ message, path: [pathItem(pool, "sendProxyProtocol")] });
  }
  const { maxStreams } = (pool.connections ?? {}) as ConnectionOptions;
  if (maxStreams !== undefined && (protocol !== "h2" || transport === "fetch" || proxy !== undefined)) {
    const message = 'must not have "maxStreams" unless "protocol" is "h2", without "fetch" or a "proxy"';
    addIssue({ message, path: [pathItem(pool, "connections")] });
  }
  const message = findTransportProblem(pool as TransportOptions);
  if (message !== null) addIssue({ message, path: [pathItem(pool, "transport")] });
}
