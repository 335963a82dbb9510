/** What becomes of requests when their transport is disposed. */

import { UpstreamError } from "../../core/errors.ts";
import { formatAddress } from "../../upstream/address.ts";
import type { Peer } from "../../upstream/peer.ts";

/** Makes the error for a request that was not sent because the transport is closed. */
export function closedError(peer: Peer): UpstreamError {
  return new UpstreamError(`Cannot send to ${formatAddress(peer.address)}: the transport was closed`, {
    code: "connection_terminated",
    phase: "unsent",
  });
}
