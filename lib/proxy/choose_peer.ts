/** Lets the configuration say where a request goes. */

import { FilterError } from "../core/errors.ts";
import type { Filters, PeerOptions } from "../config/filters.ts";
import type { Exchange } from "./exchange.ts";
import type { NamedPeer } from "./named_peers.ts";
import type { PoolRuntime } from "./proxy_runtime.ts";
import { runFilter } from "./run_filter.ts";

/**
 * Asks `upstreamPeer` once, and sets the exchange's pool, or its peer when one was named outright.
 *
 * @throws {FilterError} when it throws, rejects, or names what does not exist
 */
export function choosePeer(
  exchange: Exchange,
  upstreamPeer: NonNullable<Filters["upstreamPeer"]>,
): void | Promise<void> {
  const named = runFilter("upstreamPeer", upstreamPeer, exchange.request, exchange);
  return named instanceof Promise
    ? named.then((late) => takePeer(exchange, late))
    : takePeer(exchange, named);
}

function takePeer(exchange: Exchange, named: string | PeerOptions | void): void {
  exchange.throwIfCancelled();
  try {
    if (typeof named === "string") exchange.pool = poolNamed(exchange, named);
    else if (named !== undefined && named !== null) exchange.namedPeer = peerNamed(exchange, named);
  } catch (error) {
    throw new FilterError("upstreamPeer", error);
  }
}

function poolNamed(exchange: Exchange, name: string): PoolRuntime {
  const { pools } = exchange.runtime;
  const pool = pools.get(name);
  if (pool !== undefined) return pool;
  const known = [...pools.keys()].map((each) => `"${each}"`).join(", ");
  throw new TypeError(`Cannot use the pool "${name}": there are ${known}`);
}

function peerNamed({ runtime: { namedPeers } }: Exchange, options: PeerOptions): NamedPeer {
  if (typeof options?.address === "string") return namedPeers.get(options);
  throw new TypeError(
    `it must return the name of a pool, { address, tls } or nothing, returned ${found(options)}`,
  );
}

function found(value: unknown): string {
  return typeof value === "object" ? `an object without "address"` : typeof value;
}
