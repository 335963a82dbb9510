/** Completes the places to listen at. */

import { isBrokenIpv4 } from "./broken_ipv4.ts";
import type { Listen, ListenOptions, ResolvedListen } from "./proxy_config.ts";

const DEFAULT_HOSTNAME = "0.0.0.0";
const DEFAULT_PORT = 6188;
const HOST_PORT = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.]+)?)\]|([^\s:/?#@[\],]+)):(\d{1,5})$/;

/**
 * Reads one place to listen at: `"host:port"`, `"unix:/path"`, a port number, or an object; `undefined` when it is none.
 *
 * Port 0 lets the system choose.
 */
export function parseListen(place: unknown): ResolvedListen | undefined {
  switch (typeof place) {
    case "number":
      return parseOptions({ port: place });
    case "string":
      return parseText(place);
    case "object":
      return place === null ? undefined : parseOptions(place);
    default:
      return undefined;
  }
}

/** Completes the places to listen at, which are known to be good. */
export function resolveListen(listen: Listen | readonly Listen[] = {}): readonly ResolvedListen[] {
  const places = Array.isArray(listen) ? listen as readonly Listen[] : [listen as Listen];
  return Object.freeze(places.map((place) => parseListen(place)!));
}

function parseOptions(options: ListenOptions): ResolvedListen | undefined {
  const { hostname = DEFAULT_HOSTNAME, port = DEFAULT_PORT, tls, unix, redirect, underscores = "drop" } =
    options;
  const { engine = "auto" } = options;
  if (typeof hostname !== "string" || !Number.isInteger(port) || port < 0 || port > 65535) return undefined;
  if (unix !== undefined && (typeof unix !== "string" || !unix.startsWith("/"))) return undefined;
  const redirectPort = redirect === undefined ? undefined : parseRedirect(redirect);
  return Object.freeze({
    hostname,
    port,
    ...(tls === undefined ? {} : { tls: Object.freeze({ ...tls }) }),
    ...(unix === undefined ? {} : { unix }),
    ...(redirectPort === undefined ? {} : { redirectPort }),
    ...(underscores === "drop" ? {} : { underscores }),
    engine: engine !== "auto" ? engine : tls === undefined ? "http1" : "deno",
  });
}

/** Reads `"https"` or `"https:PORT"` as the port; `undefined` when it is neither. */
export function parseRedirect(redirect: unknown): number | undefined {
  if (redirect === "https") return 443;
  const digits = typeof redirect === "string" ? /^https:(\d{1,5})$/.exec(redirect)?.[1] : undefined;
  const port = Number(digits ?? 0);
  return port >= 1 && port <= 65535 ? port : undefined;
}

function parseText(text: string): ResolvedListen | undefined {
  if (text.startsWith("unix:")) return parseOptions({ unix: text.slice(5) });
  const match = HOST_PORT.exec(text);
  if (match === null) return undefined;
  const hostname = (match[1] ?? match[2])!;
  return isBrokenIpv4(hostname) ? undefined : parseOptions({ hostname, port: Number(match[3]) });
}
