/** Outbound proxies: HTTP (CONNECT, absolute targets) and SOCKS version 5. */

import { closeQuietly } from "./close_quietly.ts";
import { latin1Text, type RawConnection } from "./raw_connection.ts";
import { type RawUpstream, rawUpstream } from "./raw_upstream.ts";

/** Options of {@linkcode forwardProxy}. */
export interface ForwardProxyOptions {
  scheme: "http" | "socks5";
  /** Required `user:password`. */
  credentials?: string;
  /** Destination of all connections. @default {the requested destination} */
  to?: string;
}

/** A proxy that records its requests. */
export class ForwardProxy implements AsyncDisposable {
  readonly #options: ForwardProxyOptions;
  readonly #upstream: RawUpstream;
  /** Request lines, or `SOCKS host:port`. */
  readonly asked: string[] = [];

  constructor(options: ForwardProxyOptions) {
    this.#options = options;
    this.#upstream = rawUpstream(
      options.scheme === "http" ? (conn) => this.#http(conn) : (conn) => this.#socks(conn),
    );
  }

  /** The URL for the configuration. */
  get url(): string {
    const { scheme, credentials } = this.#options;
    const [, username = "", password = ""] = /^(.*?):(.*)$/.exec(credentials ?? "") ?? [];
    return `${scheme}://${
      credentials === undefined ? "" : `${username}:${encodeURIComponent(password)}@`
    }${this.#upstream.address}`;
  }

  /** Number of open connections. */
  get open(): number {
    return this.#upstream.open;
  }

  async #http(client: RawConnection): Promise<void> {
    const head = await client.readHead();
    if (head === null) return;
    const line = head.slice(0, head.indexOf("\r\n"));
    this.asked.push(line);
    const { credentials } = this.#options;
    const expected = credentials === undefined
      ? ""
      : `proxy-authorization: basic ${btoa(credentials).toLowerCase()}`;
    if (!head.toLowerCase().includes(expected)) {
      return await client.write("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    }
    const [method, target] = line.split(" ") as [string, string];
    if (method === "CONNECT") {
      return await this.#lead(client, target, "HTTP/1.1 200 Connected\r\nX-Any: 1\r\n\r\n");
    }
    const url = new URL(target);
    // One request per connection is enough for a test.
    const forwarded = head.replace(
      line,
      `${method} ${url.pathname}${url.search} HTTP/1.1\r\nConnection: close`,
    )
      .replace(/proxy-authorization: .*\r\n/i, "");
    await this.#lead(client, url.host, "", forwarded);
  }

  async #socks(client: RawConnection): Promise<void> {
    const { credentials } = this.#options;
    const [, count] = await client.readExactly(2);
    const methods = await client.readExactly(count!);
    const method = credentials === undefined ? 0 : 2;
    if (!methods.includes(method)) return await client.write(Uint8Array.of(5, 255));
    await client.write(Uint8Array.of(5, method));
    if (credentials !== undefined) {
      const username = await readText(client, (await client.readExactly(2))[1]!);
      const password = await readText(client, (await client.readExactly(1))[0]!);
      const right = `${username}:${password}` === credentials;
      await client.write(Uint8Array.of(1, right ? 0 : 1));
      if (!right) return;
    }
    const kind = (await client.readExactly(4))[3];
    const host = kind === 1
      ? (await client.readExactly(4)).join(".")
      : kind === 4
      ? new URL(`http://[${hextetsOf(await client.readExactly(16))}]`).hostname
      : await readText(client, (await client.readExactly(1))[0]!);
    const [high, low] = await client.readExactly(2);
    const target = `${host}:${high! * 256 + low!}`;
    this.asked.push(`SOCKS ${target}`);
    await this.#lead(client, target, Uint8Array.of(5, 0, 0, 1, 127, 0, 0, 1, 0, 80));
  }

  async #lead(
    client: RawConnection,
    target: string,
    greeting: string | Uint8Array,
    first = "",
  ): Promise<void> {
    const to = new URL(`http://${this.#options.to ?? target}`);
    const server = await Deno.connect({ hostname: to.hostname, port: Number(to.port) });
    await client.write(greeting);
    if (first !== "") await server.write(new TextEncoder().encode(first));
    // The side that ends first ends both.
    const up = (async () => {
      for (let part = await client.read(); part !== null; part = await client.read()) {
        await server.write(part);
      }
    })().catch(() => {});
    const buffer = new Uint8Array(65536);
    const down = (async () => {
      for (let count = await server.read(buffer); count !== null; count = await server.read(buffer)) {
        await client.write(buffer.subarray(0, count));
      }
    })().catch(() => {});
    await Promise.race([up, down]);
    client.close();
    closeQuietly(server);
    await Promise.all([up, down]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#upstream.close();
  }
}

function hextetsOf(bytes: Uint8Array): string {
  return bytes.toHex().match(/.{4}/g)!.join(":");
}

async function readText(connection: RawConnection, length: number): Promise<string> {
  return latin1Text(await connection.readExactly(length));
}

/** Starts a proxy on loopback. */
export function forwardProxy(options: ForwardProxyOptions): ForwardProxy {
  return new ForwardProxy(options);
}
