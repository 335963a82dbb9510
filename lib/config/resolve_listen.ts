/** Completes the places to listen at. */

import { isBrokenIpv4 } from "./broken_ipv4.ts";
import type { Listen, ListenOptions, ResolvedListen } from "./proxy_config.ts";

const DEFAULT_HOSTNAME = "0.0.0.0";
const DEFAULT_PORT = 6188;
const HOST_PORT = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.]+)?)\]|([^\s:/?#@[\],]+)):(\d{1,5})$/;

/**
 * Reads one place to listen at: `"host:port"`, a port number, or an object; `undefined` when it is none.
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
  const { hostname = DEFAULT_HOSTNAME, port = DEFAULT_PORT } = options;
  if (typeof hostname !== "string" || !Number.isInteger(port) || port < 0 || port > 65535) return undefined;
  return Object.freeze({ hostname, port });
}

function parseText(text: string): ResolvedListen | undefined {
  const match = HOST_PORT.exec(text);
  if (match === null) return undefined;
  const hostname = (match[1] ?? match[2])!;
  return isBrokenIpv4(hostname) ? undefined : parseOptions({ hostname, port: Number(match[3]) });
}
