/** The way by which `fetch` reaches an address under another server's name. */

import { resourceShortage, withSecondLookup } from "../../core/resource_shortage.ts";
import type { UpstreamErrorCode } from "../../core/errors.ts";
import type { Address } from "../../upstream/address.ts";
import { dialByProxy, type OutboundProxy } from "../outbound_proxy.ts";

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
        ? await withSecondLookup(
          () => Deno.connect({ hostname: address.hostname, port: address.port, signal }),
          signal,
        )
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
