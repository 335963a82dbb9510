/** Proxies that stand between this one and the servers. */

/** A proxy through which servers are reached. */
export interface OutboundProxy {
  /** How it is spoken to: `CONNECT` and absolute targets (RFC 9110 section 9.3.6), or SOCKS version 5 (RFC 1928). */
  readonly scheme: "http" | "socks5";
  readonly hostname: string;
  readonly port: number;
  /** Who we are to it; `null` where it does not ask. */
  readonly credentials: { readonly username: string; readonly password: string } | null;
}

/** What the address of a proxy has to look like, for error messages. */
export const PROXY_EXPECTED = '"http://host:port" or "socks5://host:port"';

const PROXY =
  /^(http|socks5):\/\/(?:([^/?#@:]*):([^/?#@]*)@)?(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/?#@[\],]+)):(\d{1,5})\/?$/;

/** Reads `http://host:port` or `socks5://host:port`, both with `user:password@` or without; `undefined` otherwise. */
export function parseProxy(text: string): OutboundProxy | undefined {
  const match = PROXY.exec(text);
  if (match === null) return undefined;
  const [, scheme, username, password, ipv6, name] = match;
  const port = Number(match[6]);
  if (port < 1 || port > 65535) return undefined;
  let credentials: OutboundProxy["credentials"] = null;
  if (username !== undefined && password !== undefined) {
    try {
      credentials = Object.freeze({
        username: decodeURIComponent(username),
        password: decodeURIComponent(password),
      });
    } catch {
      return undefined;
    }
  }
  return Object.freeze({
    scheme: scheme as OutboundProxy["scheme"],
    hostname: (ipv6 ?? name)!,
    port,
    credentials,
  });
}

/** Writes a proxy for people: whoever knows the password need not see it, and nobody else should. */
export function formatProxy({ scheme, hostname, port, credentials }: OutboundProxy): string {
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return `${scheme}://${credentials === null ? "" : "***@"}${host}:${port}`;
}
