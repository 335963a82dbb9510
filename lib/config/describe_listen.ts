/** Shows what a place to listen at means. */

import { describeClientLimits } from "./client_limits.ts";
import { formatListen } from "./format_listen.ts";
import type { ResolvedListen } from "./proxy_config.ts";

/** Writes one place for people; keys and certificates are named by their files, not shown. */
export function describeListen(listen: ResolvedListen): string {
  const { underscores, limits, proxyProtocol, engine, tls } = listen;
  const parts = [describePlace(listen)];
  if (engine === "deno" && tls === undefined) parts.push("by the runtime's server");
  if (underscores !== undefined) {
    const fate = underscores === "pass" ? "passes" : "refuses requests with";
    parts.push(`${fate} underscores in names of fields`);
  }
  if (proxyProtocol !== undefined) parts.push(`PROXY protocol from ${proxyProtocol.entries.join(" ")}`);
  return [...parts, ...describeClientLimits(limits)].join(", ");
}

function describePlace(listen: ResolvedListen): string {
  const { tls, redirectPort, engine } = listen;
  const place = formatListen(listen);
  if (redirectPort !== undefined) {
    return `${place}, sends clients to https${redirectPort === 443 ? "" : ` at port ${redirectPort}`}`;
  }
  if (tls === undefined) return place;
  const origins = [tls.cert, tls.key].filter((text) => !text.includes("-----BEGIN"));
  const watched = origins.length === 0
    ? "given as text"
    : `from ${origins.join(" and ")}, read again on change`;
  return `${place}, TLS${engine === "deno" ? " with HTTP/2" : ""}, certificate ${watched}`;
}
