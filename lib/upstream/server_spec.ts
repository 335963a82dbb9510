/** Servers as an operator writes them. */

import { ADDRESS_EXPECTED, formatAddress, parseAddress } from "./address.ts";
import type { ServerInit } from "./server.ts";

/** A server with more to say than its address. */
export interface ServerSpec {
  /** `"host:port"` or `"unix:/path"`. */
  address: string;
  /** Share of the requests, beside the others': 0 (none) to 65535. @default {1} */
  weight?: number;
  /** Only used when no server that is not a backup can be. @default {false} */
  backup?: boolean;
  /** Words of the operator, for filters and logs. @default {[]} */
  tags?: readonly string[];
  /** How many requests may run at once. @default {Infinity} */
  maxInFlight?: number;
}

/** Completes a server of which the operator wrote only a part. */
export type ResolveServer = (spec: string | ServerSpec) => ServerInit;

/**
 * Reads a server that is spoken to in plain text.
 *
 * @throws {TypeError} when the address is none, or asks for TLS, which takes a pool that knows of it
 */
export function resolvePlainServer(spec: string | ServerSpec): ServerInit {
  const { address: text, ...rest } = typeof spec === "string" ? { address: spec } : spec;
  const parsed = parseAddress(text);
  if (parsed === undefined || parsed.secure === true) {
    throw new TypeError(`Cannot add server: expected ${ADDRESS_EXPECTED}, received ${JSON.stringify(text)}`);
  }
  const peer = Object.freeze({ address: Object.freeze(parsed.address), tls: null });
  return { id: formatAddress(parsed.address), peer, ...rest };
}
