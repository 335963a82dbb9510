/** The rules of how servers are spoken to. */

import {
  DURATION_ABOVE_0,
  must,
  object,
  type Report,
  type Rule,
  type Rules,
  text,
  type Unchecked,
  wholeOrInfinity,
  word,
} from "../../core/options.ts";
import { parseProxy, PROXY_EXPECTED } from "../../transport/outbound_proxy.ts";
import {
  type ConnectionOptions,
  findTransportProblem,
  PROTOCOL_NAMES,
  TRANSPORT_NAMES,
  type TransportOptions,
} from "../../transport/select_transport.ts";

/** Options that there were before requests had one queue for one overload, and what does it now. */
const REMOVED: Readonly<Record<string, string>> = {
  maxConnections:
    '"maxInFlight" of a server, or of the pool, limits its requests and with them its connections',
  maxQueue: 'requests wait in the "queue" of the pool, and its "size" is how many',
  queueTimeout: 'requests wait in the "queue" of the pool, and its "timeout" is how long',
};

const CONNECTIONS: Rule = object<ConnectionOptions>(
  {
    maxIdle: wholeOrInfinity(0),
    idleTimeout: DURATION_ABOVE_0,
    maxStreams: wholeOrInfinity(1),
  },
  'an object with "maxIdle", "idleTimeout" and "maxStreams"',
  {
    explain: (name) =>
      Object.hasOwn(REMOVED, name) ? `is not an option any more: ${REMOVED[name]}` : undefined,
  },
);

/** Options of a pool that say how its servers are spoken to. */
export const TRANSPORT_RULES: Rules<TransportOptions> = {
  transport: word(TRANSPORT_NAMES),
  protocol: word(PROTOCOL_NAMES),
  proxy: text(PROXY_EXPECTED, (proxy) => parseProxy(proxy) !== undefined),
  sendProxyProtocol: must((value) => value === 1 || value === 2, "1 or 2"),
  connections: CONNECTIONS,
};

/** Finds options of a pool that contradict each other. */
export function checkTransport(pool: Unchecked<TransportOptions>, report: Report): void {
  const { transport, protocol, proxy, sendProxyProtocol, connections } = pool;
  const byFetch = transport === "fetch"
    ? '"transport" is "fetch"'
    : proxy === undefined
    ? null
    : 'there is a "proxy"';
  if (sendProxyProtocol !== undefined && byFetch !== null) {
    report(`must not stand where ${byFetch}: "fetch" sends no PROXY headers`, "sendProxyProtocol");
  }
  const { maxStreams } = (connections ?? {}) as ConnectionOptions;
  if (maxStreams !== undefined && (protocol !== "h2" || byFetch !== null)) {
    report(
      'must not have "maxStreams" unless "protocol" is "h2", without "fetch" or a "proxy"',
      "connections",
    );
  }
  const message = findTransportProblem(pool as TransportOptions);
  if (message !== null) report(message, "transport");
}
