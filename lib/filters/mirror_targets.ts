/** Where copies of requests go: servers named outright, and the servers of pools. */

import type { RequestContext } from "../filter/request_context.ts";
import { checkedPeer, type PeerOptions } from "../filter/resolve_peer.ts";
import type { Peer } from "../upstream/peer.ts";
import type { Pool } from "../upstream/pool.ts";

/** The servers of a pool of the configuration, those that may be used at the moment, in turn. */
export interface MirrorPool {
  /** Name of the pool. */
  pool: string;
}

/** A place where copies go: an address as of a server, the same with TLS, or a pool. */
export type MirrorTarget = string | PeerOptions | MirrorPool;

/** Takes turns among all that it is given. */
export class MirrorTargets {
  readonly #targets: readonly (Peer | MirrorPool)[];
  #turn = 0;
  #poolTurn = 0;

  /** @throws {TypeError} when an address cannot be read */
  constructor(targets: readonly MirrorTarget[]) {
    this.#targets = targets.map((target) => {
      if (typeof target === "string") return checkedPeer(target);
      if (typeof target !== "object" || target === null) throw unreadable(target);
      const named = "pool" in target;
      if (typeof (named ? target.pool : target.address) !== "string") throw unreadable(target);
      return named ? target : checkedPeer(target.address, target.tls);
    });
  }

  /** Where the next copy goes; `null` when there is no server for it, which the log tells. */
  next({ pools, log }: Pick<RequestContext, "pools" | "log">): Peer | null {
    const target = this.#targets[this.#turn++ % this.#targets.length]!;
    if (!("pool" in target)) return target;
    const pool = pools.get(target.pool);
    if (pool === undefined) {
      const known = [...pools.keys()].map((name) => `"${name}"`).join(", ");
      log.warn(`Cannot mirror to the pool "${target.pool}": there are ${known}`);
      return null;
    }
    const peer = this.#serverOf(pool);
    if (peer === null) {
      log.debug(`Cannot mirror to the pool "${target.pool}": none of its servers can be used`);
    }
    return peer;
  }

  #serverOf({ servers }: Pool): Peer | null {
    const usable = servers.filter((server) => server.eligible && server.weight > 0);
    const first = usable.filter(({ backup }) => !backup);
    const among = first.length > 0 ? first : usable;
    return among.length === 0 ? null : among[this.#poolTurn++ % among.length]!.peer;
  }
}

function unreadable(target: unknown): TypeError {
  const found = JSON.stringify(target) ?? typeof target;
  return new TypeError(
    `Cannot make the filter mirror: "to" must be an address, { address, tls }, { pool: "name" } or an array of these, received ${found}`,
  );
}
