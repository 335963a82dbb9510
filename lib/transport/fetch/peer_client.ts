/** How `fetch` is brought to talk to one server. */

import { UpstreamError, type UpstreamErrorCode } from "../../core/errors.ts";
import { resourceShortage } from "../../core/resource_shortage.ts";
import { type Address, formatAddress, type Peer } from "../../upstream/peer.ts";
import { connectTcp } from "../http1/dial.ts";
import { dialByProxy, type OutboundProxy } from "../outbound_proxy.ts";
import { BLOCKED_PORTS } from "./fetch_messages.ts";

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

// The way by which `fetch` reaches an address under another server's name.

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** `fetch` sends some 200 bytes; whoever sends more is not our `fetch`. */
const MAX_HEAD_BYTES = 4096;
const BUFFER_BYTES = 65536;
/** How long to wait before a connection is accepted that could not be. */
const ACCEPT_AGAIN_MS = 20;

/**
 * A proxy on loopback for one client of `fetch`: takes CONNECT and leads to one address, whatever the name asked for.
 *
 * TLS stays between `fetch` and the server: only its bytes pass here. (`proxy: { transport: "tcp" }` of
 * `Deno.createHttpClient` will not do: with it Deno 2.9.6 sends `https:` requests in plain text.)
 * A password keeps other users of the machine out.
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
  /** Why the address could not be reached the last time that it was tried; `null` when it could. */
  dialFailure: UpstreamErrorCode | null = null;

  /** @param proxy what stands between here and the address */
  constructor(address: Address, proxy: OutboundProxy | null = null) {
    this.#address = address;
    this.#proxy = proxy;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#listener.unref();
    this.finished = this.#accept();
  }

  /** What to give to `Deno.createHttpClient`. */
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
        // Out of descriptors, which is not over in the next turn.
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
    // `fetch` sends nothing before our response: a read that ends while the server is dialled means that it gave up.
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

  /** Carries bytes one way; whichever way ends first ends both, for HTTP over TLS knows no half-open connection. */
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
      // Reset by one end, or closed by the other pump.
    } finally {
      this.#close(from);
      this.#close(to);
    }
  }

  #close(conn: Deno.Conn): void {
    if (this.#open.delete(conn)) conn.close();
  }

  /** Takes no more connections; those that are open end with what they carry. */
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
