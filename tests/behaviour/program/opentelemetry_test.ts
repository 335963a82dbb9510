/** Spans by the OpenTelemetry that is built into Deno, as a collector gets them. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { deadPort } from "../../support/dead_port.ts";
import { ProgramFolder } from "../../support/program.ts";
import { askAt } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

interface OtlpSpan {
  traceId: string;
  spanId: string;
  parentSpanId: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: { stringValue?: string; intValue?: string | number } }[];
  status?: { code?: number; message?: string };
}

/** A collector of OTLP by HTTP with JSON that keeps what it gets. */
class Collector implements AsyncDisposable {
  /** Those of the proxy, and those of the runtime. */
  readonly spans: OtlpSpan[] = [];
  readonly others: OtlpSpan[] = [];
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor() {
    this.#server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
      const { resourceSpans = [] } = await request.json();
      for (const { scopeSpans } of resourceSpans) {
        for (const { scope, spans } of scopeSpans) {
          (scope?.name === "lbproxy" ? this.spans : this.others).push(...spans);
        }
      }
      return Response.json({});
    });
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** Runs the program until it is told to stop, by which the runtime hands over what it has collected. */
async function spansOf(
  config: Readonly<Record<string, unknown>>,
  ask: (port: number) => Promise<void>,
): Promise<OtlpSpan[]> {
  await using collector = new Collector();
  const lines = Object.entries({ listen: "127.0.0.1:0", ...config }).map(([name, value]) =>
    `export const ${name} = ${JSON.stringify(value)};`
  );
  await using folder = await ProgramFolder.with({ "proxy.config.ts": lines.join("\n") });
  await using program = folder.start([], ["-A"], {
    OTEL_DENO: "true",
    OTEL_DENO_CONSOLE: "ignore",
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
  });
  const address = await program.address();
  await ask(Number(address.split(":").at(-1)));
  program.kill("SIGTERM");
  await program.ended;
  return collector.spans;
}

function valueOf(span: OtlpSpan, name: string): string | undefined {
  const value = span.attributes.find(({ key }) => key === name)?.value;
  return value === undefined ? undefined : String(value.stringValue ?? value.intValue);
}

for (const protocol of ["http1", "h2"] as const) {
  Deno.test(`a collector gets a span of the request, and one of each thing that took its time, below the client's (${protocol})`, async () => {
    await using upstream = startUpstream();
    const dead = `127.0.0.1:${deadPort()}`;
    const spans = await spansOf({
      upstreams: { servers: [dead, upstream.address], protocol, balance: "first", ejection: false },
      limiter: { name: "all", key: "ip", limit: 100, window: "1h" },
      routes: [{ name: "shop" }],
      tracing: { sample: 0 },
    }, async (port) => {
      // First, so that it needs a connection of its own.
      await askAt(port, "GET /a?token=x", [`traceparent: 00-${TRACE}-${SPAN}-01`]);
      await askAt(port, "GET /not-traced");
    });
    const [server, ...others] = spans.filter(({ name }) => name === "GET shop");
    assertEquals(others, []);
    assertEquals([server!.traceId, server!.parentSpanId, server!.kind], [TRACE, SPAN, 2]);
    assertEquals(
      ["http.request.method", "url.path", "url.query", "http.response.status_code", "http.route"].map((
        name,
      ) => valueOf(server!, name)),
      ["GET", "/a", "token=[redacted]", "200", "shop"],
    );
    const children = spans.filter(({ parentSpanId }) => parentSpanId === server!.spanId);
    assertEquals(children.length, spans.length - 1);
    assertEquals(children.map(({ name }) => name).sort(), [
      "connect",
      "limiter",
      "relay",
      "route",
      "upstream",
      "upstream",
    ]);
    assert(children.every(({ traceId }) => traceId === TRACE));
    // None of them is longer than the whole.
    for (const { name, startTimeUnixNano, endTimeUnixNano } of children) {
      assert(BigInt(startTimeUnixNano) <= BigInt(endTimeUnixNano), name);
      assert(BigInt(startTimeUnixNano) >= BigInt(server!.startTimeUnixNano), name);
      assert(BigInt(endTimeUnixNano) <= BigInt(server!.endTimeUnixNano), name);
    }
    const upstreams = children.filter(({ name }) => name === "upstream").sort((a, b) =>
      Number(BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano))
    );
    assertEquals(upstreams.map(({ kind }) => kind), [3, 3]);
    assertEquals(upstreams.map((span) => valueOf(span, "server.address")), [dead, upstream.address]);
    assertEquals(upstreams.map((span) => valueOf(span, "error.type")), ["connection_refused", undefined]);
    assertEquals(upstreams[0]!.status?.code, 2);
    // The server is told of the span that it was asked in.
    const told = upstream.seen.find(({ target }) => target.startsWith("/a"))!.headers.get("traceparent");
    assertEquals(told, `00-${TRACE}-${upstreams[1]!.spanId}-01`);
  });
}

Deno.test("a trace that begins here has spans without a parent, and an error where the request failed", async () => {
  const spans = await spansOf({
    upstreams: [`127.0.0.1:${deadPort()}`],
    tracing: { sample: 1 },
  }, async (port) => void await askAt(port));
  const [server] = spans.filter(({ kind }) => kind === 2);
  assertMatch(server!.traceId, /^[0-9a-f]{32}$/);
  assertEquals([server!.parentSpanId, server!.name, server!.status?.code], ["", "GET", 2]);
  assertEquals(valueOf(server!, "error.type"), "connection_refused");
});

Deno.test("where nothing is traced a collector gets no span of the proxy", async () => {
  await using upstream = startUpstream();
  const spans = await spansOf(
    { upstreams: [upstream.address] },
    async (port) => void await askAt(port, "GET /", [`traceparent: 00-${TRACE}-${SPAN}-01`]),
  );
  assertEquals(spans, []);
});

Deno.test("below the span that the runtime makes of a request where its own server takes it", async () => {
  await using upstream = startUpstream();
  await using collector = new Collector();
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      export const listen = { hostname: "127.0.0.1", port: 0, engine: "deno" };
      export const upstreams = ["${upstream.address}"];
      export const tracing = { sample: 0 };
    `,
  });
  await using program = folder.start([], ["-A"], {
    OTEL_DENO: "true",
    OTEL_DENO_CONSOLE: "ignore",
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
  });
  const port = Number((await program.address()).split(":").at(-1));
  await askAt(port, "GET /", [`traceparent: 00-${TRACE}-${SPAN}-01`]);
  program.kill("SIGTERM");
  await program.ended;
  const [server] = collector.spans.filter(({ kind }) => kind === 2);
  assertEquals(server!.traceId, TRACE);
  const [outer, ...others] = collector.others.filter(({ spanId }) => spanId === server!.parentSpanId);
  assertEquals(others, []);
  assertEquals([outer!.traceId, outer!.parentSpanId], [TRACE, SPAN]);
});
