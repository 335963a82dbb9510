import { assert, assertEquals } from "@std/assert";
import { readNaively } from "../support/naive_request_parser.ts";
import { latin1Bytes } from "../support/raw_connection.ts";
import { readRequests } from "../support/read_requests.ts";
import { fuzz } from "./fuzz.ts";

Deno.test("20,000 made-up responses are read alike, whole and cut", async () => {
  const { outcomes, reasons } = await fuzz("responses", 20_000, 1);
  // Inputs that all end one way would show little.
  for (const outcome of ["complete", "open", "refused"]) {
    assert(outcomes[outcome]! > 1000, JSON.stringify(outcomes));
  }
  assert(reasons > 25, `${reasons} reasons to refuse one`);
});

Deno.test("the requests of 20,000 made-up connections are read alike, whole, cut, and by a naive parser", async () => {
  const { outcomes, reasons, messages } = await fuzz("requests", 20_000, 1);
  for (const end of ["open", "closed", "400"]) assert(outcomes[end]! > 1000, JSON.stringify(outcomes));
  for (const end of ["405", "414", "417", "431", "501", "505"]) {
    assert(outcomes[end]! > 0, JSON.stringify(outcomes));
  }
  assert(
    reasons > 40 && messages > 10_000,
    `${reasons} reasons to refuse one, ${messages} complete requests`,
  );
});

Deno.test("5,000 made-up connections are read by the engine as by a naive parser, whatever becomes of content", async () => {
  const { outcomes, messages } = await fuzz("connections", 5000, 1);
  for (const end of ["open", "closed", "400"]) assert(outcomes[end]! > 300, JSON.stringify(outcomes));
  assert(messages > 2500, `${messages} requests`);
});

/** How many inputs of the other kinds, and what each of them has to come to now and then: inputs that all end one way show little. */
const OTHERS = [
  ["config", 2000, ["good", "refused"]],
  ["forwarded", 10_000, ["readable", "in part", "unreadable"]],
  ["targets", 20_000, ["plain", "marked", "refused"]],
  ["routes", 10_000, ["as it came", "in its normal form", "no route", "refused"]],
  ["fields", 1000, ["alone", "beside others"]],
] as const;

for (const [what, inputs, ends] of OTHERS) {
  Deno.test(`${inputs} made-up inputs of the kind ${what} agree with naive readers`, async () => {
    const { outcomes } = await fuzz(what, inputs, 1);
    for (const end of ends) assert((outcomes[end] ?? 0) >= inputs / 100, JSON.stringify(outcomes));
  });
}

/** What the two parsers have once disagreed about, with what both have to say. */
const FOUND: readonly (readonly [name: string, bytes: string, requests: number, end: number | string])[] = [
  [
    "a trailer field with the name of the option close",
    "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: x-a,close\r\n\r\n0\r\nclose: b\r\n\r\n",
    1,
    "closed",
  ],
];

for (const [name, bytes, count, end] of FOUND) {
  Deno.test(`both parsers agree about ${name}`, () => {
    const { message: _, ...read } = readRequests(latin1Bytes(bytes));
    assertEquals([read.requests.length, read.end], [count, end]);
    assertEquals(read, readNaively(bytes));
  });
}
