import { assert, assertEquals } from "@std/assert";
import { FILTER_PHASES, type Filters, type ProxyResponse } from "../../../lib/filter/filters.ts";
import { eventMessage } from "../../../lib/observe/event_message.ts";
import { describeValue } from "../../../lib/core/describe_value.ts";
import { TEST_WORKERS } from "../../support/test_workers.ts";
import { startProxy, type TestConfig } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { StrayErrors, StrayRejections } from "../../support/stray_errors.ts";
import { type Callback, type CallbackCase, type CallbackName, CALLBACKS, type Outcome } from "./callbacks.ts";

interface Trial {
  readonly how: string;
  readonly fail: Callback;
  readonly outcome: Outcome;
  readonly hangs: boolean;
}

function trialsOf({ throws, rejects = throws, hangs = rejects, wrong = [] }: CallbackCase): Trial[] {
  const trial = (how: string, fail: Callback, outcome: Outcome, hangs = false): Trial => ({
    how,
    fail,
    outcome,
    hangs,
  });
  return [
    trial("throws", () => {
      throw new Error("boom");
    }, throws),
    trial("rejects", () => Promise.reject(new Error("boom")), rejects),
    ...(hangs === null ? [] : [trial("hangs", () => new Promise(() => {}), hangs, true)]),
    ...wrong.map(([value, ...outcome]) => trial(`returns ${describeValue(value)}`, () => value, outcome)),
  ];
}

/** Where phases of filters can stand. */
const PLACES: Readonly<Record<string, (rest: TestConfig, phase: Filters) => TestConfig>> = {
  "of a filter set": (rest, phase) => ({ ...rest, filters: [phase] }),
  "of a route": (rest, phase) => ({ ...rest, routes: [{ filters: [phase] }] }),
  "of one set of two": (rest, phase) => ({
    ...rest,
    filters: [phase, Object.fromEntries(Object.keys(phase).map((name) => [name, () => {}]))],
  }),
};

for (const [name, row] of Object.entries(CALLBACKS) as [CallbackName, CallbackCase][]) {
  const isPhase = (FILTER_PHASES as readonly string[]).includes(name);
  for (const trial of trialsOf(row)) {
    declare(name, row, trial, row.config);
    if (!isPhase || trial.how.startsWith("returns")) continue;
    for (const [place, put] of Object.entries(PLACES)) {
      declare(`${name} ${place}`, row, trial, (call, upstream) => {
        const { [name as keyof Filters]: phase, ...rest } = row.config(call, upstream);
        return put(rest as TestConfig, { [name]: phase });
      });
    }
  }
}

function declare(name: string, row: CallbackCase, trial: Trial, makeConfig: CallbackCase["config"]): void {
  const { how, fail, outcome: [status, log], hangs } = trial;
  const {
    good = () => {},
    request = ["GET /"],
    afterwards = 200,
    observer,
    recovered,
    hangsForGood = false,
  } = row;
  const said = log === "" ? "" : `, and the log says "${log}"`;
  Deno.test(`${name} that ${how} gives ${status}${said}`, async () => {
    using rejections = new StrayRejections();
    using strays = new StrayErrors();
    await using upstream = startUpstream();
    let broken = true;
    const call: Callback = (...args) => broken ? fail(...args) : good(...args);
    const config = makeConfig(call, upstream.address);
    await using proxy = await startProxy(
      hangs ? inTime(config) : config,
      observer === undefined ? {} : { log: observer(call) },
    );
    const ask = async () => (await proxy.ask(request[0], request[1], request[2])).status;
    assertEquals(await ask(), status);
    broken = false;
    const recovers = afterwards !== null && !(hangs && (status === 504 || hangsForGood));
    if (recovers) await recovered?.(proxy);
    const later = await ask();
    if (recovers) assertEquals(later, afterwards);
    const lines = observer === undefined ? proxy.seen.events.map(eventMessage) : strays.lines;
    if (log !== "") assert(lines.some((line) => line.includes(log)), lines.join("\n"));
    assertEquals(rejections.reasons, []);
  });
}

/** The same with a time in which the exchange has to end. */
function inTime(config: TestConfig): TestConfig {
  const { upstreams } = config;
  // Four workers that share one process take longer to get there.
  const timeouts = { total: TEST_WORKERS > 1 ? "600ms" : "150ms" } as const;
  if (Array.isArray(upstreams)) return { ...config, upstreams: { servers: upstreams, timeouts } };
  return "servers" in upstreams ? { ...config, upstreams: { ...upstreams, timeouts } } : config;
}

const oddError = Object.assign(new Error(), { message: 5, stack: 6 });
for (const thrown of [undefined, null, "text", Symbol("odd"), Object.create(null), oddError]) {
  Deno.test(`what a filter throws may be anything: ${describeValue(thrown)}`, async () => {
    const fail = (): never => {
      throw thrown;
    };
    await using proxy = await startProxy({ upstreams: ["127.0.0.1:1"], requestFilter: fail, logging: fail });
    assertEquals((await proxy.ask()).status, 500);
    await proxy.seen.untilEntries(1);
    const messages = proxy.seen.events.map(eventMessage).filter((message) => message.includes("threw:"));
    assertEquals(messages.length, 2);
  });
}

/** What a filter must not make of the head that it edits. */
const edits: [what: string, filters: Filters, Outcome][] = [
  ...[99, 101, 600, NaN, 200.5, "200"].flatMap((status): typeof edits => {
    const set = (response: ProxyResponse): void => void (response.status = status as number);
    const message = `it must set a status from 200 to 599, set ${describeValue(status)}`;
    return [
      [`status ${describeValue(status)}`, { upstreamResponseFilter: set }, [
        500,
        `upstreamResponseFilter threw: ${message}`,
      ]],
      [`status ${describeValue(status)}`, { responseFilter: set }, [500, `responseFilter threw: ${message}`]],
    ];
  }),
  ...[5, "", "x y", "/a b", "/a\r\nb: c"].map((target): typeof edits[number] => [
    `target ${describeValue(target)}`,
    { upstreamRequestFilter: (request) => void (request.target = target as string) },
    [500, "upstreamRequestFilter threw: it must set"],
  ]),
  ...[5, "", "GET / HTTP/1.1\r\nx:", "G T"].map((method): typeof edits[number] => [
    `method ${describeValue(method)}`,
    { upstreamRequestFilter: (request) => void (request.method = method as string) },
    [500, "upstreamRequestFilter threw: it must set"],
  ]),
];
for (const [what, filters, [status, log]] of edits) {
  const [phase] = Object.keys(filters);
  for (const transport of ["http1", "fetch"] as const) {
    Deno.test(`${phase} that sets the ${what} gives ${status} by ${transport}`, async () => {
      await using upstream = startUpstream();
      await using proxy = await startProxy({
        upstreams: { servers: [upstream.address], transport },
        ...filters,
      });
      assertEquals((await proxy.ask()).status, status);
      const lines = proxy.seen.events.map(eventMessage);
      assert(lines.some((line) => line.includes(log)), lines.join("\n"));
      assertEquals(upstream.requests, phase === "upstreamRequestFilter" ? 0 : 1);
    });
  }
}

Deno.test("localReplyFilter that sets no status is reported, and the answer goes out as it was", async () => {
  for (const status of [99, NaN, 600]) {
    await using proxy = await startProxy({
      upstreams: ["127.0.0.1:1"],
      requestFilter: () => new Response("own", { status: 401 }),
      localReplyFilter: (response) => void (response.status = status),
    });
    const { status: got, text } = await proxy.ask();
    assertEquals([got, text], [401, "own"]);
    assertEquals(proxy.seen.eventsOf("callback_error").map(({ name }) => name), ["localReplyFilter"]);
  }
});

Deno.test("a client that goes away ends the wait for failToProxy", async () => {
  const waiting = Promise.withResolvers<void>();
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    requestFilter: () => {
      throw new Error("boom");
    },
    failToProxy: () => {
      waiting.resolve();
      return new Promise(() => {});
    },
  });
  {
    using client = await proxy.connect();
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    await waiting.promise;
  }
  assertEquals((await proxy.seen.untilEntries(1)).status, 499);
  assertEquals(proxy.seen.eventsOf("callback_error"), []);
});

Deno.test("ProxyServer.shutdown() ends the wait for failToProxy with the grace period", async () => {
  const waiting = Promise.withResolvers<void>();
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    gracePeriod: 50,
    requestFilter: () => {
      throw new Error("boom");
    },
    failToProxy: () => {
      waiting.resolve();
      return new Promise(() => {});
    },
  });
  const asked = proxy.ask();
  await waiting.promise;
  await proxy.server.shutdown();
  assertEquals((await asked).status, 500);
});
