/** A complete proxy on a free port of loopback, with everything that it reports. */

import { assertEquals } from "@std/assert";
import type { Listen } from "../../lib/config/listen_options.ts";
import type { ProxyConfig } from "../../lib/config/proxy_config.ts";
import { type ProxyServer, serve } from "../../lib/server/serve.ts";
import type { ServeOptions } from "../../lib/server/serve_options.ts";
import type { Server } from "../../lib/upstream/server.ts";
import { ENGINE, isSecuredForTest, onEngine, OVER_HTTP2, OVER_TLS, TLS_PORTS } from "./engine.ts";
import { FakeClock } from "./fake_clock.ts";
import { askByHttp2 } from "./http2_ask.ts";
import { rawClient } from "./raw_client.ts";
import { fieldOf, latin1Text, type RawConnection, type RawMessage } from "./raw_connection.ts";
import { Recorder } from "./recorder.ts";
import { serveByWorkers, TEST_WORKERS } from "./test_workers.ts";
import { trustingClient } from "./tls_client.ts";

/** A response received by a client. */
export interface Answer extends RawMessage {
  status: number;
  /** The content, one character per byte. */
  text: string;
  /** First value of a field. */
  field(name: string): string | undefined;
}

/** A proxy under test. */
export class TestProxy implements AsyncDisposable {
  readonly server: ProxyServer;
  readonly seen: Recorder;

  /** Trusts the listener's certificate, if it got one. */
  readonly #client: Deno.HttpClient | null;
  /** Whether reports arrive a moment after responses. */
  readonly #byWorkers: boolean;
  /** A clock advanced at the end, for an engine that waits a moment then. */
  readonly #clock: FakeClock | null;
  #asked = 0;

  constructor(
    server: ProxyServer,
    seen: Recorder,
    client: Deno.HttpClient | null = null,
    byWorkers = false,
    clock: FakeClock | null = null,
  ) {
    this.#byWorkers = byWorkers;
    this.#clock = clock;
    this.server = server;
    this.seen = seen;
    this.#client = client;
  }

  /** Port of the first listener. */
  get port(): number {
    return portOf(this.server.addresses[0]!);
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Opens a connection to the proxy. */
  connect(): Promise<RawConnection> {
    return rawClient(this.port);
  }

  /** Sends one request with `fetch`; the test must cancel content that it does not read. */
  fetch(target: string, init: RequestInit = {}): Promise<Response> {
    if (this.#client !== null && TLS_PORTS.has(this.port)) {
      return fetch(`https://localhost:${this.port}${target}`, { client: this.#client, ...init });
    }
    return fetch(`http://${this.address}${target}`, init);
  }

  /** Sends one request on a separate connection and returns the whole response; see {@linkcode askAt}. */
  async ask(
    request = "GET /",
    lines: readonly string[] = [],
    body: string | Uint8Array = "",
  ): Promise<Answer> {
    // A test may have forgotten what there was.
    this.#asked = Math.min(this.#asked, this.seen.entries.length);
    const answer = await askAt(this.port, request, lines, body);
    if (this.#byWorkers) await this.#untilEntered(answer.status);
    return answer;
  }

  /** Waits for the access log entry; there is none for requests that the runtime refused before the proxy. */
  async #untilEntered(status: number): Promise<void> {
    const count = this.#asked + 1;
    const entered = () => this.seen.entries.length >= count;
    if (status !== 400) await this.seen.until(entered);
    else await this.seen.until(entered, 2000).catch(() => {});
    if (entered()) this.#asked = count;
  }

  /** All servers of all pools, including draining ones. */
  get servers(): Server[] {
    return [...this.server.pools.values()].flatMap((pool) => [...pool.servers, ...pool.leaving]);
  }

  /** Stops the proxy; no request may count as running after that. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { servers } = this;
    for (const address of this.server.addresses) TLS_PORTS.delete(portOf(address));
    this.#client?.close();
    let over = false;
    const ended = this.server[Symbol.asyncDispose]().finally(() => over = true);
    for (let i = 0; this.#clock !== null && i < 100 && !over; i++) {
      await this.#clock.advance(10);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    await ended;
    const running = servers.map(({ id, inFlight }) => ({ id, inFlight }));
    assertEquals(running, servers.map(({ id }) => ({ id, inFlight: 0 })), "requests in flight after the end");
  }
}

/**
 * Sends one request to a port of loopback, on a separate connection, and returns the whole response.
 *
 * @param request request line without the version, such as `GET /path`
 * @param lines field lines; `Host: h` is added in front unless one begins with `Host:`
 */
export async function askAt(
  port: number,
  request = "GET /",
  lines: readonly string[] = [],
  body: string | Uint8Array = "",
): Promise<Answer> {
  if (OVER_HTTP2 && TLS_PORTS.has(port)) return answerOf(await askByHttp2(port, request, lines, body));
  using connection = await rawClient(port);
  const hasHost = lines.some((line) => /^host:/i.test(line));
  const head = [`${request} HTTP/1.1`, ...(hasHost ? [] : ["Host: h"]), ...lines, "", ""];
  await connection.write(head.join("\r\n"));
  await connection.write(body);
  return await readAnswer(connection, request.split(" ")[0]);
}

function portOf(address: string): number {
  return Number(address.split(":").at(-1));
}

/** Reads the whole response to a request with this method. */
export async function readAnswer(connection: RawConnection, method = "GET"): Promise<Answer> {
  return answerOf(await connection.readResponse(method));
}

function answerOf(response: RawMessage & { status: number }): Answer {
  return {
    ...response,
    text: latin1Text(response.body),
    field: (name) => fieldOf(response.fields, name.toLowerCase()),
  };
}

/** A configuration with an optional listener; the default is a free port of loopback. */
export type TestConfig<State = unknown> = Omit<ProxyConfig<State>, "upstreams"> & {
  upstreams: ProxyConfig["upstreams"];
};

/** Starts a proxy. */
export async function startProxy<State = unknown>(
  config: TestConfig<State>,
  options: Omit<ServeOptions, "observer"> = {},
): Promise<TestProxy> {
  const observer = new Recorder();
  const listen = await onEngine(config.listen ?? "127.0.0.1:0");
  // Tests must not wait for open WebSockets at their end.
  const complete = { webSocketGrace: 0, ...config, listen };
  const byWorkers = TEST_WORKERS > 1;
  const server = byWorkers
    ? await serveByWorkers(complete as ProxyConfig, { ...options, observer })
    : await serve(complete, { ...options, observer });
  const clock = ENGINE === "deno" && options.clock instanceof FakeClock ? options.clock : null;
  if (!OVER_TLS) return new TestProxy(server, observer, null, byWorkers, clock);
  const places = Array.isArray(listen) ? listen as readonly Listen[] : [listen as Listen];
  places.forEach((place, index) => {
    if (isSecuredForTest(place)) TLS_PORTS.add(portOf(server.addresses[index]!));
  });
  return new TestProxy(server, observer, await trustingClient(OVER_HTTP2 ? "h2" : "h1"), byWorkers);
}
