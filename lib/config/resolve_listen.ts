/** Completes the places to listen at. */

import { TrustedProxies } from "../http/trusted_proxies.ts";
import { isBrokenIpv4 } from "./broken_ipv4.ts";
import { describeClientLimits, resolveClientLimits } from "./client_limits.ts";
import { denoCanServe, resolveListenTls } from "./listen_tls.ts";
import type { EngineName, Listen, ListenOptions, ResolvedListen } from "./proxy_config.ts";

const DEFAULT_HOSTNAME = "0.0.0.0";
const DEFAULT_PORT = 6188;
const NO_OPTIONS = resolveClientLimits({});
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
  return Object.freeze(places.map((place) => completeListen(place)));
}

// Of what is only read to be judged these options may be anything; see `parseListen`.
function completeListen(place: Listen): ResolvedListen {
  const resolved = parseListen(place)!;
  if (typeof place !== "object") return resolved;
  const { proxyProtocol } = place;
  return Object.freeze({
    ...resolved,
    limits: resolveClientLimits(place),
    ...(proxyProtocol === undefined || proxyProtocol.from.length === 0
      ? {}
      : { proxyProtocol: new TrustedProxies(proxyProtocol.from) }),
  });
}

/** The engine that a place gets. */
function engineOf(engine: EngineName = "auto"): Exclude<EngineName, "auto"> {
  return engine === "auto" ? "http1" : engine;
}

/**
 * The same place by another engine.
 *
 * @returns what is in the way of it, as a text, when something is
 */
export function withEngine(listen: ResolvedListen, name: EngineName): ResolvedListen | string {
  const { tls, limits, proxyProtocol } = listen;
  const engine = engineOf(name);
  if (engine === "deno") {
    if (tls !== undefined && !denoCanServe(tls)) {
      return "it takes one certificate, for every name, and HTTP/2";
    }
    if (proxyProtocol !== undefined) return "it takes no PROXY headers";
    const [first] = describeClientLimits(limits);
    if (first !== undefined) return `it cannot limit clients (${first})`;
  }
  return Object.freeze({ ...listen, engine });
}

function parseOptions(options: ListenOptions): ResolvedListen | undefined {
  const { hostname = DEFAULT_HOSTNAME, port = DEFAULT_PORT, tls, unix, redirect, underscores = "drop" } =
    options;
  const { http2 = false, reusePort = false } = options;
  if (typeof hostname !== "string" || !Number.isInteger(port) || port < 0 || port > 65535) return undefined;
  if (unix !== undefined && (typeof unix !== "string" || !unix.startsWith("/"))) return undefined;
  const redirectPort = redirect === undefined ? undefined : parseRedirect(redirect);
  return Object.freeze({
    hostname,
    port,
    ...(tls === undefined ? {} : { tls: resolveListenTls(tls) }),
    ...(unix === undefined ? {} : { unix }),
    ...(redirectPort === undefined ? {} : { redirectPort }),
    ...(underscores === "drop" ? {} : { underscores }),
    ...(http2 ? { http2 } : {}),
    ...(reusePort ? { reusePort } : {}),
    engine: engineOf(options.engine),
    limits: NO_OPTIONS,
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
