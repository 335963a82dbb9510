/** Fields that tell a server who asked the proxy. */

/** What the proxy calls itself in `Via`, `Proxy-Status` and the like. */
export const PROXY_NAME = "lbproxy";

/**
 * Whether a client could use the field to pass itself off as a proxy that speaks for somebody else.
 *
 * Taken off every request: the client is not a proxy that anybody has said to trust. The name is in lower case.
 */
export function isForwardedField(name: string): boolean {
  if (name === "forwarded") return true;
  // All of the family: servers believe `-ssl`, `-scheme`, `-user` and `-client-cert` as well as the usual ones. And in
  // any spelling: behind CGI and its heirs `X_Forwarded_For` is the same variable as `X-Forwarded-For`.
  return name.startsWith("forwarded", 2) && name.startsWith("x") && isDash(name[1]) && isDash(name[11]);
}

function isDash(character: string | undefined): boolean {
  return character === "-" || character === "_";
}

/** What {@linkcode addForwarded} says. */
export interface ForwardedOptions {
  /** Address of the client; nothing is said of it when it is `""`. */
  readonly clientIp: string;
  /** Host as the client wrote it. */
  readonly host: string;
  /** `"http"` or `"https"`, as the client came. */
  readonly scheme: string;
  /** The `Via` field of the request; `null` when it has none. */
  readonly via: string | null;
}

/** Adds `X-Forwarded-For`, `-Proto` and `-Host`, and the proxy's entry in `Via` (RFC 9110 section 7.6.3). */
export function addForwarded(list: string[], options: ForwardedOptions): void {
  const { clientIp, host, scheme, via } = options;
  if (clientIp !== "") list.push("x-forwarded-for", clientIp);
  list.push("x-forwarded-proto", scheme, "x-forwarded-host", host);
  list.push("via", via === null ? VIA : `${via}, ${VIA}`);
}

const VIA = `1.1 ${PROXY_NAME}`;
