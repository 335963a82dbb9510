/** Servers that are named while the proxy runs, by a program or by a filter. */

import { ADDRESS_EXPECTED, formatAddress, parseAddress } from "../upstream/address.ts";
import type { Peer } from "../upstream/peer.ts";
import type { ResolveServer, ServerSpec } from "../upstream/server_spec.ts";
import type { ServerOptions } from "./proxy_config.ts";
import { findPeerProblem, resolvePeer, type TlsSetting, type Way } from "./resolve_peer.ts";

/**
 * Makes a peer of what nobody has looked at yet.
 *
 * @throws {TypeError} when the address cannot be read, or contradicts the way to it
 */
export function checkedPeer(address: string, own?: TlsSetting, way: Way = {}): Peer {
  const parsed = parseAddress(address);
  if (parsed === undefined) {
    throw new TypeError(
      `Cannot use server: expected ${ADDRESS_EXPECTED}, received ${JSON.stringify(address)}`,
    );
  }
  const problem = findPeerProblem(parsed, own, way);
  if (problem !== undefined) {
    throw new TypeError(`Cannot use server ${JSON.stringify(address)}: it ${problem}`);
  }
  return resolvePeer(address, own, way.tls);
}

/** Completes servers that are added to a pool while it runs, reached as the others are. */
export function resolveServer(way: Way): ResolveServer {
  return (spec) => {
    const { address, tls, ...rest } = (typeof spec === "string" ? { address: spec } : spec) as
      & ServerSpec
      & Pick<ServerOptions, "tls">;
    const peer = checkedPeer(address, tls, way);
    return { id: formatAddress(peer.address), peer, ...rest };
  };
}
