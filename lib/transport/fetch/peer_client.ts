/** How `fetch` is brought to talk to one server. */

import { UpstreamError, type UpstreamErrorCode } from "../../core/errors.ts";
import { type Address, formatAddress } from "../../upstream/address.ts";
import type { Peer } from "../../upstream/peer.ts";
import type { OutboundProxy } from "../outbound_proxy.ts";
import { ConnectTunnel } from "./connect_tunnel.ts";
import { BLOCKED_PORTS } from "./fetch_request.ts";

/** How a {@linkcode PeerClient} connects, and what it keeps. */
export interface PoolOptions {
  /** Spoken to every server; `"h2"` is HTTP/2 without asking whether the server knows it. @default {"http1"} */
  protocol?: "http1" | "h2";
  /** What stands between here and every server; plain text is spoken only in HTTP/1.1 there. @default {null} */
  proxy?: OutboundProxy | null;
  /** Idle connections kept for each server. @default {256} */
  maxIdle?: number;
  /** How long a connection is kept idle; a little under the 5 s of many servers. @default {4000} */
  idleTimeoutMs?: number;
}

/** A client of `fetch` for one server, and the URLs that lead there. */
export class PeerClient implements Disposable {
  readonly client: Deno.HttpClient;
  /** Whether the authority of the URL is what the server takes for `Host` (RFC 9113 section 8.3.1). */
  readonly namesHost: boolean;
  /** Whether a proxy on the way sees the requests, and may respond itself. */
  readonly byForwarding: boolean;
  readonly #tunnel: ConnectTunnel | null = null;
  /** What the URLs begin with; `null` when that depends on the request. */
  readonly #origin: string | null;
  #closed = false;

  constructor(peer: Peer, options: PoolOptions = {}) {
    const { protocol = "http1", proxy: outbound = null, maxIdle = 256, idleTimeoutMs = 4000 } = options;
    const { address, tls } = peer;
    this.namesHost = protocol === "h2";
    this.byForwarding = tls === null && outbound?.scheme === "http";
    const pool = {
      poolMaxIdlePerHost: maxIdle,
      poolIdleTimeout: idleTimeoutMs,
      http1: protocol === "http1",
      http2: protocol === "h2",
      allowHost: true,
    };
    const outside = outbound === null ? {} : { proxy: proxyOf(outbound) };
    if (tls === null) {
      // In HTTP/2 only the URL says which host is meant, so it has to be led to the address in another way.
      this.#origin = protocol === "h2" && outbound === null ? null : directOrigin("http", address);
      if (this.#origin === null && outbound !== null) throw unreachable(address);
      const proxy = this.#origin === null ? { proxy: socketProxy(address) } : outside;
      this.client = Deno.createHttpClient({ ...pool, ...proxy });
      return;
    }
    const { serverName, caCerts, cert, key } = tls;
    const named = address.kind === "tcp" && address.hostname === serverName;
    const direct = named ? directOrigin("https", address) : null;
    if (direct === null && outbound !== null && address.kind === "unix") throw unreachable(address);
    if (direct === null) this.#tunnel = new ConnectTunnel(address, outbound);
    this.#origin = direct ?? `https://${serverName}`;
    const proxy = this.#tunnel === null ? outside : { proxy: this.#tunnel.proxy };
    const identity = cert === undefined || key === undefined ? {} : { cert, key };
    this.client = Deno.createHttpClient({ ...pool, ...proxy, ...identity, caCerts: [...caCerts] });
  }

  /** Why the server could not be reached, where we dial ourselves. */
  get dialFailure(): UpstreamErrorCode | null {
    return this.#tunnel === null ? null : this.#tunnel.dialFailure;
  }

  /** The URL for a target that `isExactTarget` accepts. */
  url(target: string, host: string | null): string {
    return (this.#origin ?? originOfHost(host)) + target;
  }

  /** Closes idle connections and takes no more requests; resolves when those that run have ended. */
  async retire(): Promise<void> {
    this.#closeClient();
    this.#tunnel?.retire();
    await this.#tunnel?.finished;
  }

  #closeClient(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.client.close();
  }

  [Symbol.dispose](): void {
    this.#closeClient();
    this.#tunnel?.[Symbol.dispose]();
  }
}

function proxyOf({ scheme, hostname, port, credentials }: OutboundProxy): Deno.Proxy {
  const url = `${scheme}://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
  return credentials === null ? { url } : { url, basicAuth: { ...credentials } };
}

function unreachable(address: Address): UpstreamError {
  const message = `Cannot reach ${formatAddress(address)} through a proxy`;
  return new UpstreamError(message, { code: "destination_ip_unroutable", phase: "unsent" });
}

/** The address as the origin of a URL; `null` where no URL leads there. */
function directOrigin(scheme: "http" | "https", address: Address): string | null {
  if (address.kind === "unix" || BLOCKED_PORTS.has(address.port)) return null;
  const { hostname, port } = address;
  const origin = `${scheme}://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
  return URL.canParse(origin) ? origin : null;
}

function socketProxy(address: Address): Deno.Proxy {
  return address.kind === "unix"
    ? { transport: "unix", path: address.path }
    : { transport: "tcp", hostname: address.hostname, port: address.port };
}

/**
 * What stands before the target in the request line when `fetch` is led to a socket.
 *
 * It then believes that it talks to a proxy and sends the absolute form, whose host a server has to take for the
 * real one (RFC 9112 section 3.2.2): so it has to be the one of `Host`.
 */
function originOfHost(host: string | null): string {
  const origin = `http://${host ?? ""}`;
  if (host === null || !URL.canParse(origin)) return "http://localhost";
  const url = new URL(origin);
  // More than a host and a port, or a host that a URL writes otherwise.
  if (url.href !== `http://${url.host}/` || !host.toLowerCase().startsWith(url.hostname)) {
    return "http://localhost";
  }
  return BLOCKED_PORTS.has(Number(url.port)) && url.port !== ""
    ? `http://${url.hostname}`
    : `http://${url.host}`;
}
