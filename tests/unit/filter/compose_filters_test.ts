import { assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { composeFilters } from "../../../lib/filter/compose_filters.ts";
import { FILTER_PHASES, type Filters, type ProxyResponse } from "../../../lib/filter/filters.ts";
import type { RequestContext } from "../../../lib/filter/request_context.ts";
import { HeaderFields } from "../../../lib/http/header_fields.ts";

const ctx = {} as RequestContext;
const request = new Request("http://h/");

/** Phases that must not be async. */
const SYNCHRONOUS: readonly (keyof Filters)[] = ["newContext", "localReplyFilter"];

/** A set that notes each of its phases as it runs. */
function noting(name: string, ran: string[], later: boolean): Filters {
  const phases = FILTER_PHASES.map((phase) => [phase, () => {
    ran.push(`${phase} ${name}`);
    return later && !SYNCHRONOUS.includes(phase) ? Promise.resolve() : undefined;
  }]);
  return Object.fromEntries(phases);
}

for (const later of [false, true]) {
  Deno.test(`composeFilters() runs sets in order, the way back in reverse, ${later ? "later" : "at once"}`, async () => {
    for (const phase of FILTER_PHASES) {
      const ran: string[] = [];
      const composed = composeFilters([
        noting("a", ran, later),
        {},
        noting("b", ran, later),
        noting("c", ran, later),
      ]);
      const made = (composed[phase] as (...args: unknown[]) => unknown)({}, ctx);
      assertEquals(made instanceof Promise, later && !SYNCHRONOUS.includes(phase), phase);
      await made;
      const back = [
        "upstreamResponseFilter",
        "responseFilter",
        "responseBodyFilter",
        "failToProxy",
        "localReplyFilter",
        "logging",
      ];
      const order = back.includes(phase) ? ["c", "b", "a"] : ["a", "b", "c"];
      assertEquals(ran, order.map((name) => `${phase} ${name}`));
    }
  });

  const give = <T>(value: T): T | Promise<T> => later ? Promise.resolve(value) : value;

  Deno.test(`composeFilters() stops at the first response, ${later ? "later" : "at once"}`, async () => {
    const answer = new Response("a");
    const composed = composeFilters([
      { requestFilter: () => give(undefined), upstreamPeer: () => give(undefined) },
      { requestFilter: () => give(answer), upstreamPeer: () => give("one") },
      {
        requestFilter: () => {
          throw new Error("must not run");
        },
        upstreamPeer: () => "two",
      },
    ]);
    assertStrictEquals(await composed.requestFilter!(request, ctx), answer);
    assertEquals(await composed.upstreamPeer!(request, ctx), "one");
  });

  Deno.test(`composeFilters() lets outer sets edit a response that an inner one made, ${later ? "later" : "at once"}`, async () => {
    const composed = composeFilters([
      { responseFilter: (response) => give(void response.headers.set("x-outer", String(response.status))) },
      { responseFilter: () => give(new Response("new", { status: 201, headers: { "x-inner": "1" } })) },
      { responseFilter: (response) => give(void response.headers.set("x-lost", "1")) },
    ]);
    const head: ProxyResponse = { status: 200, statusText: "", headers: new HeaderFields() };
    const made = await composed.responseFilter!(head, ctx) as Response;
    assertEquals([made.status, await made.text()], [201, "new"]);
    assertEquals([made.headers.get("x-outer"), made.headers.get("x-inner"), made.headers.has("x-lost")], [
      "201",
      "1",
      false,
    ]);
  });
}

Deno.test("composeFilters() has only the phases that a set has, and the function itself where there is one set", () => {
  const requestFilter = () => {};
  assertEquals(composeFilters([{ requestFilter }]), { requestFilter });
  assertEquals(Object.keys(composeFilters([{ requestFilter }, { logging() {} }])), [
    "requestFilter",
    "logging",
  ]);
  assertEquals(composeFilters([]), {});
});

Deno.test("composeFilters() keeps the methods of a set together with its fields", () => {
  class Counting implements Filters {
    #count = 0;
    requestFilter(): Response {
      return new Response(String(++this.#count));
    }
  }
  const composed = composeFilters([{}, new Counting()]);
  composed.requestFilter!(request, ctx);
  return (composed.requestFilter!(request, ctx) as Response).text().then((text) => assertEquals(text, "2"));
});

Deno.test("composeFilters() makes one state of all sets'", () => {
  const make = (...makers: Filters["newContext"][]) =>
    composeFilters(makers.map((newContext) => ({ newContext: newContext! }))).newContext!(request);
  assertEquals(make(() => ({ a: 1, b: 1 }), () => ({ b: 2 })), { a: 1, b: 2 });
  assertEquals(make(() => undefined, () => 5), 5);
  assertThrows(() => make(() => ({}), () => 5), TypeError, "must return an object");
});

Deno.test("composeFilters() tells every logging, whatever the others throw", async () => {
  const ran: string[] = [];
  const throwing = (name: string, later: boolean): Filters => ({
    logging: () => {
      ran.push(name);
      if (later) return Promise.reject(new Error(name));
      throw new Error(name);
    },
  });
  const composed = composeFilters([throwing("a", false), throwing("b", true), {
    logging: () => void ran.push("c"),
  }]);
  const error = await assertRejects(async () => await composed.logging!(ctx), AggregateError);
  assertEquals(error.message, "a; b");
  assertEquals(ran, ["c", "b", "a"]);
});
