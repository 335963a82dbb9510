/** Servers as an operator writes them, and as a pool takes them. */

import { describeValue } from "../core/describe_value.ts";
import { ADDRESS_EXPECTED, formatAddress, parseAddress, type Peer } from "./peer.ts";

/** A server with an address and options. */
export interface ServerSpec {
  /** `"host:port"` or `"unix:/path"`. */
  address: string;
  /** Share of the requests relative to the other servers: 0 (none) to 65535. @default {1} */
  weight?: number;
  /** Used only when no primary server can be used. @default {false} */
  backup?: boolean;
  /** Tags for filters and logs. @default {[]} */
  tags?: readonly string[];
  /** Most requests in flight at once. @default {Infinity} */
  maxInFlight?: number;
}

/** All that a pool needs of a server. */
export interface ServerInit {
  /** The address as configured; unique in its pool. */
  readonly id: string;
  /** How transports reach it. */
  readonly peer: Peer;
  /** Share of the requests relative to the other servers: 0 (none) to 65535. @default {1} */
  readonly weight?: number;
  /** Used only when no primary server can be used. @default {false} */
  readonly backup?: boolean;
  /** Tags for filters and logs. @default {[]} */
  readonly tags?: readonly string[];
  /** Most requests in flight at once. @default {Infinity} */
  readonly maxInFlight?: number;
  /** @internal Where its state is in the memory of several processes, when one of them has chosen that. */
  readonly slot?: number;
}

/** Completes a server as an operator writes it. */
export type ResolveServer = (spec: string | ServerSpec) => ServerInit;

/**
 * Completes a server without TLS.
 *
 * @throws {TypeError} when the address is invalid or asks for TLS
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

/** Largest weight: sums of larger ones would not be exact. */
export const MAX_WEIGHT = 65_535;

/**
 * Checks the numbers of a server.
 *
 * @throws {RangeError} when the weight or the limit is invalid
 */
export function checkServerInit({ id, weight = 1, maxInFlight = Infinity }: Omit<ServerInit, "peer">): void {
  if (!(typeof weight === "number" && weight >= 0 && weight <= MAX_WEIGHT)) {
    throw new RangeError(
      `Cannot weigh server "${id}": the weight must be a number from 0 to ${MAX_WEIGHT}, received ${
        describeValue(weight)
      }`,
    );
  }
  if (!(maxInFlight === Infinity || (Number.isSafeInteger(maxInFlight) && maxInFlight >= 0))) {
    throw new RangeError(
      `Cannot limit server "${id}": "maxInFlight" must be a whole number from 0 on or Infinity, received ${
        describeValue(maxInFlight)
      }`,
    );
  }
}
