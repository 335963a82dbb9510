/** Shows what a place to listen at means. */

import { describeClientLimits } from "./client_limits.ts";
import { formatListen } from "./format_listen.ts";
import type { ResolvedCertificate, ResolvedClientCertificates } from "./listen_tls.ts";
import type { ResolvedListen } from "./proxy_config.ts";

/** Writes one place for people; keys and certificates are named by their files, not shown. */
export function describeListen(listen: ResolvedListen): string {
  const { underscores, limits, proxyProtocol, engine, http2, reusePort } = listen;
  const parts = [describePlace(listen)];
  if (engine === "deno") parts.push("by the runtime's server");
  if (http2 === true) parts.push("HTTP/2 too");
  if (reusePort === true) parts.push("beside other processes");
  if (underscores !== undefined) {
    const fate = underscores === "pass" ? "passes" : "refuses requests with";
    parts.push(`${fate} underscores in names of fields`);
  }
  if (proxyProtocol !== undefined) parts.push(`PROXY protocol from ${proxyProtocol.entries.join(" ")}`);
  return [...parts, ...describeClientLimits(limits)].join(", ");
}

function describePlace(listen: ResolvedListen): string {
  const { tls, redirectPort } = listen;
  const place = formatListen(listen);
  if (redirectPort !== undefined) {
    return `${place}, sends clients to https${redirectPort === 443 ? "" : ` at port ${redirectPort}`}`;
  }
  if (tls === undefined) return place;
  const { certificates, lookup, refusesUnknown, minVersion, http2, clientCertificates } = tls;
  const parts = [
    `${place}, TLS${minVersion === "1.2" ? "" : ` ${minVersion}`}${http2 ? " with HTTP/2" : ""}`,
  ];
  for (const [index, certificate] of certificates.entries()) {
    parts.push(describeCertificate(certificate, index));
  }
  if (lookup !== null) parts.push("certificates that certificates() finds");
  if (refusesUnknown) parts.push("no other names");
  if (clientCertificates !== null) parts.push(describeClients(clientCertificates));
  return parts.join(", ");
}

function describeClients({ ca, mode, verify }: ResolvedClientCertificates): string {
  const judges = [
    ...(ca.length === 0 ? [] : [`${ca.length} ${ca.length === 1 ? "authority" : "authorities"}`]),
    ...(verify === null ? [] : ["verify()"]),
  ];
  return `clients ${mode === "require" ? "must" : "may"} show a certificate that ${
    judges.join(" and ")
  } let in`;
}

function describeCertificate({ names, cert, key }: ResolvedCertificate, index: number): string {
  const files = [cert, key].filter((text) => !text.includes("-----BEGIN"));
  const origin = files.length === 0 ? "given as text" : `from ${files.join(" and ")}, read again on change`;
  const whose = names !== null ? ` of ${names.join(" ")}` : index === 0 ? "" : " of the names in it";
  return `certificate${whose} ${origin}`;
}
