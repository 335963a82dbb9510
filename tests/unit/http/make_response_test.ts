import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { makeResponse } from "../../../lib/http/make_response.ts";

const NAMES = ["a", "set-cookie", "x-1", "1", "007", "constructor", "__proto__", "tostring", "valueof", "_"];

function headersOf(list: readonly string[]): [string, string][] {
  const headers = new Headers();
  for (let i = 0; i < list.length; i += 2) headers.append(list[i]!, list[i + 1]!);
  return [...headers];
}

Deno.test("makeResponse loses no field and no value, whatever the names", () => {
  const field = fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom("", "1", "x y", "\xff"));
  fc.assert(
    fc.property(
      fc.array(field, { maxLength: 12 }),
      fc.constantFrom(200, 201, 404),
      fc.boolean(),
      (fields, status, withBody) => {
        const list = fields.flat();
        const response = makeResponse(status, list, withBody ? new Uint8Array(3) : null);
        assertEquals(response.status, status);
        assertEquals([...response.headers], headersOf(list));
      },
    ),
    { seed: 3, numRuns: 500 },
  );
});

Deno.test("makeResponse adds no field of its own", () => {
  assertEquals([...makeResponse(200, [], new Uint8Array(3)).headers], []);
  assertEquals([...makeResponse(404, [], null).headers], []);
});

Deno.test("a response of makeResponse is sent with all of its fields, repeated ones too", async () => {
  const list = ["set-cookie", "a=1", "x-one", "1", "set-cookie", "b=2", "content-length", "3"];
  const bodies = [() => new Uint8Array([97, 98, 99]), () => new Response("abc").body];
  for (const body of bodies) {
    for (const status of [200, 404]) {
      await using server = Deno.serve(
        { port: 0, hostname: "127.0.0.1", onListen() {} },
        () => makeResponse(status, list, body()),
      );
      const answer = await fetch(`http://127.0.0.1:${server.addr.port}/`);
      assertEquals([answer.status, await answer.text()], [status, "abc"]);
      assertEquals(answer.headers.getSetCookie(), ["a=1", "b=2"]);
      assertEquals([answer.headers.get("x-one"), answer.headers.get("content-length")], ["1", "3"]);
    }
  }
});
