import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { headersInit } from "../../lib/http/headers_init.ts";

const NAMES = ["a", "set-cookie", "x-1", "1", "007", "constructor", "__proto__", "tostring", "valueof", "_"];

function fieldsOf(list: readonly string[]): [string, string][] {
  return [...new Response(null, { headers: headersInit(list) }).headers];
}

function expectedOf(list: readonly string[]): [string, string][] {
  const headers = new Headers();
  for (let i = 0; i < list.length; i += 2) headers.append(list[i]!, list[i + 1]!);
  return [...headers];
}

Deno.test("headersInit gives an object where every name is there once", () => {
  assertEquals(headersInit(["a", "1", "b", "2"]), { a: "1", b: "2" });
  assertEquals(headersInit([]), {});
});

Deno.test("headersInit gives pairs for what an object cannot say", () => {
  assertEquals(headersInit(["set-cookie", "a=1", "set-cookie", "b=2"]), [["set-cookie", "a=1"], [
    "set-cookie",
    "b=2",
  ]]);
  assertEquals(headersInit(["b", "1", "1", "2"]), [["b", "1"], ["1", "2"]]);
  assertEquals(headersInit(["constructor", "1"]), [["constructor", "1"]]);
});

Deno.test("headersInit loses no field and no value, whatever the names", () => {
  const field = fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom("", "1", "x y", "\xff"));
  fc.assert(
    fc.property(fc.array(field, { maxLength: 12 }), (fields) => {
      const list = fields.flat();
      assertEquals(fieldsOf(list), expectedOf(list));
    }),
    { seed: 3, numRuns: 500 },
  );
});
