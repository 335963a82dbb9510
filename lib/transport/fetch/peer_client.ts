/** Clients of `fetch` for one server each. */

import { UpstreamError, type UpstreamErrorCode } from "../../core/errors.ts";
import { resourceShortage } from "../../core/resource_shortage.ts";
import { type Address, formatAddress, type Peer } from "../../upstream/peer.ts";
import { connectTcp } from "../http1/dial.ts";
import { dialByProxy, type OutboundProxy } from "../outbound_proxy.ts";
import { BLOCKED_PORTS } from "./fetch_messages.ts";

/** How a {@linkcode PeerClient} connects, and which connections it keeps. */
export interface PoolOptions {
  /** Protocol for every server; `"h2"` is HTTP/2 by prior knowledge. @default {"http1"} */
  protocol?: "http1" | "h2";
  /** Proxy before every server; plain text is only HTTP/1.1 there. @default {null} */
  proxy?: OutboundProxy | null;
  /** Idle connections kept for each server. @default {256} */
  maxIdle?: number;
  /** How long an idle connection is kept; less than the 5 s of many servers. @default {4000} */
  idleTimeoutMs?: number;
}

/** A client of `fetch` for one server, and the URLs for it. */
export class PeerClient implements Disposable {
  readonly client: Deno.HttpClient;
  /** Whether the server uses the authority of the URL as `Host` (RFC 9113 section 8.3.1). */
  readonly namesHost: boolean;
  /** Whether the outbound proxy sees the requests, and may respond itself. */
  readonly byForwarding: boolean;
  readonly #tunnel: ConnectTunnel | null = null;
  /** Begin of the URLs; `null` when it depends on the request. */
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
      // In HTTP/2 only the URL names the host, so the connection needs another way to the address.
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

  /** Why a {@linkcode ConnectTunnel} could not connect to the server. */
  get dialFailure(): UpstreamErrorCode | null {
    return this.#tunnel === null ? null : this.#tunnel.dialFailure;
  }

  /** The URL of a target that {@linkcode isExactTarget} accepts. */
  url(target: string, host: string | null): string {
    return (this.#origin ?? originOfHost(host)) + target;
  }

  /** Closes idle connections and accepts no more requests; resolves when the running ones have ended. */
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

/** The address as the origin of a URL; `null` where no URL can express it. */
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
 * The origin before the target in the request line when `fetch` is directed to a socket.
 *
 * `fetch` then assumes that it uses a proxy, and sends the absolute form. A server must use the host of that form
 * (RFC 9112 section 3.2.2), so it must be the host of `Host`.
 */
function originOfHost(host: string | null): string {
  const origin = `http://${host ?? ""}`;
  if (host === null || !URL.canParse(origin)) return "http://localhost";
  const url = new URL(origin);
  // More than a host and a port, or a host that a URL would rewrite.
  if (url.href !== `http://${url.host}/` || !host.toLowerCase().startsWith(url.hostname)) {
    return "http://localhost";
  }
  return BLOCKED_PORTS.has(Number(url.port)) && url.port !== ""
    ? `http://${url.hostname}`
    : `http://${url.host}`;
}

// The tunnel by which `fetch` reaches an address with another server name.

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** `fetch` sends some 200 bytes; a client that sends more is not this `fetch`. */
const MAX_HEAD_BYTES = 4096;
const BUFFER_BYTES = 65536;
/** How long to wait after a failed accept. */
const ACCEPT_AGAIN_MS = 20;

/**
 * A proxy on loopback for one client of `fetch`: accepts CONNECT and connects to one address, for any requested name.
 *
 * TLS is between `fetch` and the server: only its bytes pass here. (`proxy: { transport: "tcp" }` of
 * `Deno.createHttpClient` is no solution: with it Deno 2.9.6 sends `https:` requests in plain text.)
 * A password keeps out other users of the machine.
 */
export class ConnectTunnel implements Disposable {
  readonly #address: Address;
  readonly #proxy: OutboundProxy | null;
  readonly #listener: Deno.TcpListener;
  readonly #password = crypto.randomUUID();
  readonly #open = new Set<Deno.Conn>();
  #retired = false;
  /** Resolves when the last connection has ended after {@linkcode ConnectTunnel.retire}. */
  readonly finished: Promise<void>;
  /** Why the last attempt to connect failed; `null` when it succeeded. */
  dialFailure: UpstreamErrorCode | null = null;

  /** @param proxy before the address */
  constructor(address: Address, proxy: OutboundProxy | null = null) {
    this.#address = address;
    this.#proxy = proxy;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#listener.unref();
    this.finished = this.#accept();
  }

  /** The proxy for `Deno.createHttpClient`. */
  get proxy(): Deno.Proxy {
    const url = `http://127.0.0.1:${this.#listener.addr.port}`;
    return { url, basicAuth: { username: "lbproxy", password: this.#password } };
  }

  async #accept(): Promise<void> {
    const serving = new Set<Promise<void>>();
    while (!this.#retired) {
      try {
        const client = await this.#listener.accept();
        this.#open.add(client);
        const served: Promise<void> = this.#serve(client).catch(() => {}).finally(() => {
          this.#close(client);
          serving.delete(served);
        });
        serving.add(served);
      } catch {
        if (this.#retired) break;
        // Out of file descriptors, a state that lasts for some time.
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_AGAIN_MS));
      }
    }
    await Promise.all(serving);
  }

  async #serve(client: Deno.TcpConn): Promise<void> {
    const accepted = `Proxy-Authorization: Basic ${btoa(`lbproxy:${this.#password}`)}\r\n`.toLowerCase();
    const head = await readHead(client);
    if (head === null || !head.toLowerCase().includes(accepted)) return;
    const buffer = new Uint8Array(BUFFER_BYTES);
    const dialling = new AbortController();
    // `fetch` sends nothing before the response: if its connection ends during dialling, `fetch` has cancelled.
    const first = client.read(buffer).catch(() => null).then((count) => {
      if (count === null) dialling.abort();
      return count;
    });
    const server = await this.#dial(dialling.signal);
    if (server === null) {
      await client.write(encoder.encode("HTTP/1.1 502 Bad Gateway\r\n\r\n"));
      return;
    }
    this.#open.add(server);
    if (dialling.signal.aborted) return this.#close(server);
    await client.write(encoder.encode("HTTP/1.1 200 OK\r\n\r\n")).catch(() => this.#close(client));
    await Promise.all([
      this.#pump(client, server, first, buffer),
      this.#pump(server, client),
    ]);
  }

  async #dial(signal: AbortSignal): Promise<Deno.Conn | null> {
    const address = this.#address;
    try {
      const server = address.kind === "tcp" && this.#proxy !== null
        ? await dialByProxy(this.#proxy, address, signal)
        : address.kind === "tcp"
        ? await connectTcp(address.hostname, address.port, signal)
        : await Deno.connect({ transport: "unix", path: address.path });
      this.dialFailure = null;
      return server;
    } catch (error) {
      this.dialFailure = dialFailureOf(error);
      return null;
    }
  }

  /**
   * Copies bytes in one direction. The end of either direction ends both, since HTTP over TLS has no half-closed
   * connections.
   */
  async #pump(
    from: Deno.Conn,
    to: Deno.Conn,
    first: Promise<number | null> | null = null,
    buffer: Uint8Array = new Uint8Array(BUFFER_BYTES),
  ): Promise<void> {
    try {
      let count = await (first ?? from.read(buffer));
      while (count !== null) {
        let rest = buffer.subarray(0, count);
        while (rest.length > 0) rest = rest.subarray(await to.write(rest));
        count = await from.read(buffer);
      }
    } catch {
      // Reset by one side, or closed by the other direction.
    } finally {
      this.#close(from);
      this.#close(to);
    }
  }

  #close(conn: Deno.Conn): void {
    if (this.#open.delete(conn)) conn.close();
  }

  /** Accepts no more connections; open ones continue until they end. */
  retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    this.#listener.close();
  }

  [Symbol.dispose](): void {
    this.retire();
    for (const conn of this.#open) this.#close(conn);
  }
}

async function readHead(conn: Deno.Conn): Promise<string | null> {
  const buffer = new Uint8Array(MAX_HEAD_BYTES);
  let length = 0;
  while (length < MAX_HEAD_BYTES) {
    const count = await conn.read(buffer.subarray(length));
    if (count === null) return null;
    length += count;
    const text = decoder.decode(buffer.subarray(0, length));
    if (text.endsWith("\r\n\r\n")) return text.startsWith("CONNECT ") ? text : null;
  }
  return null;
}

function dialFailureOf(error: unknown): UpstreamErrorCode {
  if (resourceShortage(error) !== null) return "out_of_resources";
  if (error instanceof Deno.errors.ConnectionRefused || error instanceof Deno.errors.NotFound) {
    return "connection_refused";
  }
  if (error instanceof Deno.errors.TimedOut) return "connection_timeout";
  if (error instanceof Error && /lookup|dns|resolve/i.test(error.message)) return "dns_error";
  return error instanceof Deno.errors.NetworkUnreachable
    ? "destination_ip_unroutable"
    : "connection_terminated";
}
