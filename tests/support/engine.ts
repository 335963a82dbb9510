/** The engine that behaviours are tested on, and what one of them cannot do. */

import type { EngineName, Listen, ListenOptions } from "../../lib/config/proxy_config.ts";
import { parseListen } from "../../lib/config/resolve_listen.ts";

/** The engine of listeners without TLS, unless a test names one; `LBPROXY_TEST_ENGINE=deno` tests the runtime's server. */
export const ENGINE: Exclude<EngineName, "auto"> = Deno.env.get("LBPROXY_TEST_ENGINE") === "deno"
  ? "deno"
  : "http1";

/** What `Deno.serve` does not let the `deno` engine do (Deno 2.9.6). */
export const LIMITS_OF_DENO = {
  "HTTP/1.0 without Host":
    "a request of HTTP/1.0 looks like one of HTTP/1.1; only OPTIONS without any field is let through",
} as const;

/** Whether the engine under test can do what the `deno` engine cannot. */
export function engineCan(_what: keyof typeof LIMITS_OF_DENO): boolean {
  return ENGINE !== "deno";
}

/** The same places, on the engine under test. */
export function onEngine(listen: Listen | readonly Listen[]): Listen | readonly Listen[] {
  return Array.isArray(listen) ? listen.map(onEngineOne) : onEngineOne(listen as Listen);
}

function onEngineOne(listen: Listen): Listen {
  if (ENGINE === "http1") return listen;
  const options: ListenOptions = typeof listen === "object" ? listen : textOptions(listen);
  return options.tls !== undefined || options.engine !== undefined ? listen : { ...options, engine: ENGINE };
}

function textOptions(listen: Listen): ListenOptions {
  const { hostname, port, unix } = parseListen(listen)!;
  return unix === undefined ? { hostname, port } : { unix };
}
