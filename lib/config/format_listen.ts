/** Places to listen at, as text. */

import { formatAddress } from "../upstream/address.ts";
import type { ResolvedListen } from "./proxy_config.ts";

/** Writes a place to listen at the way it is configured: `host:port`, an IPv6 address in brackets, or `unix:/path`. */
export function formatListen(
  { hostname, port, unix }: Pick<ResolvedListen, "hostname" | "port" | "unix">,
): string {
  if (unix !== undefined) return `unix:${unix}`;
  return formatAddress({ kind: "tcp", hostname, port });
}
