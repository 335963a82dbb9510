/** A correct upstream server with Deno.serve. */

/** A request received by an upstream. */
export interface SeenRequest {
  method: string;
  /** Path and query as in the request line. */
  target: string;
  headers: Headers;
  /** `Host`, or `:authority` in HTTP/2. */
  host: string;
  /** Content as text; only read by the default handler. */
  body: string;
}

/** Options of {@linkcode startUpstream}. */
export interface UpstreamOptions {
  /** Content of the default response, and its field `x-upstream`. @default {"upstream"} */
  name?: string;
  /** Makes the responses instead. */
  handler?: (request: Request, info: Deno.ServeHandlerInfo) => Response | Promise<Response>;
  /** Port to listen on. @default {any that is free} */
  port?: number;
  /** Uses TLS with this certificate. */
  tls?: { cert: string; key: string };
}

/** An upstream server that records its requests. */
export class Upstream implements AsyncDisposable {
  readonly #controller = new AbortController();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly name: string;
  /** Every request so far, in order. */
  readonly seen: SeenRequest[] = [];

  constructor(options: UpstreamOptions) {
    const { name = "upstream", port = 0, tls, handler } = options;
    this.name = name;
    this.#server = Deno.serve({
      hostname: "127.0.0.1",
      port,
      ...tls,
      signal: this.#controller.signal,
      onListen: () => {},
      onError: () => new Response("upstream handler failed", { status: 500 }),
    }, (request, info) => this.#answer(request, info, handler));
  }

  get port(): number {
    return this.#server.addr.port;
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Number of requests so far. */
  get requests(): number {
    return this.seen.length;
  }

  async #answer(
    request: Request,
    info: Deno.ServeHandlerInfo,
    handler: UpstreamOptions["handler"],
  ): Promise<Response> {
    const target = request.url.slice(request.url.indexOf("/", request.url.indexOf("://") + 3));
    // A copy, since the runtime reads fields on demand and drops them with the request.
    const headers = new Headers(request.headers);
    const host = headers.get("host") ?? new URL(request.url).host;
    const seen: SeenRequest = { method: request.method, target, headers, host, body: "" };
    this.seen.push(seen);
    if (handler !== undefined) return await handler(request, info);
    seen.body = await request.text();
    return new Response(this.name, { headers: { "x-upstream": this.name } });
  }

  /** Stops at once: running requests and idle connections are cut off. */
  async close(): Promise<void> {
    this.#controller.abort();
    await this.#server.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Starts an upstream on 127.0.0.1; a text is its name. */
export function startUpstream(options: UpstreamOptions | string = {}): Upstream {
  return new Upstream(typeof options === "string" ? { name: options } : options);
}
