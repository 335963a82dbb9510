import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RequestError } from "../../../lib/core/errors.ts";
import { countedPath, normalPath, pathReadings } from "../../../lib/http/normal_path.ts";
import { isHost, readTarget, shapeOfPath } from "../../../lib/http/request_target.ts";

const FALLBACK = "localhost:6188";

Deno.test("isHost() accepts names, addresses and ports, and nothing that could be another part of a URL", () => {
  const good = [
    "h",
    "shop.example",
    "shop.example:80",
    "a_b-c~d",
    "127.0.0.1:1",
    "[::1]",
    "[2001:db8::1]:443",
    "h:",
  ];
  const more = ["xn--bcher-kva.example", "a%41", "a!$&'()*+;=", "[::ffff:1.2.3.4]", "x".repeat(255)];
  for (const host of [...good, ...more]) assertEquals(isHost(host), true, host);
  const bad = [
    "",
    ":80",
    "a b",
    "a/b",
    "a?b",
    "a#b",
    "u@h",
    "a,b",
    "a\\b",
    "a\tb",
    "a:b",
    "a:80:80",
    "a:80x",
    "é",
  ];
  const worse = [
    "[",
    "[]",
    "[:",
    "[::1",
    "[::1]x",
    "[::1]]",
    "[g::1]",
    "::1",
    "a]",
    "[::1]:80:80",
    "x".repeat(256),
  ];
  for (const host of [...bad, ...worse]) assertEquals(isHost(host), false, host);
});

Deno.test("isHost() agrees with a pattern on any text", () => {
  const pattern = /^(?:[A-Za-z0-9\-._~%!$&'()*+;=]{1,255}|\[[0-9A-Fa-f:.]{2,}\])(?::\d*)?$/;
  const text = fc.string({ unit: fc.constantFrom(..."ab1.:[]/@?# ,%-_\\é"), maxLength: 12 });
  fc.assert(
    fc.property(text, (host) => assertEquals(isHost(host), pattern.test(host))),
    { seed: 20260302, numRuns: 5000 },
  );
});

const TABLE: readonly (readonly [url: string, host: string | null, target: string])[] = [
  ["http://h/", "h", "/"],
  ["http://h/a/../b?x=/y", "h", "/a/../b?x=/y"],
  ["http://h//double", "h", "//double"],
  ["http://h:80/x", "h:80", "/x"],
  ["http://[::1]:80/x?", "[::1]:80", "/x?"],
  ["https://h/x", "h", "/x"],
  ["http://h", "h", "/"],
  ["http://h?q=/a", "h", "/?q=/a"],
  ["http://h/*", "h", "/*"],
  ["https://h2.example/x", null, "/x"],
  ["http://h/http://other/", "h", "/http://other/"],
  ["HTTP://H/a", "h", "/a"],
  ["Https://Shop.Example:80/a", "shop.example:80", "/a"],
];

for (const [url, field, target] of TABLE) {
  Deno.test(`readTarget() finds ${target} in ${url}`, () => {
    const host = field ?? new URL(url).host;
    assertEquals(readTarget(url, field, FALLBACK), { host, target, received: target });
    assertEquals(target.slice(0, shapeOfPath(target).end), target.split("?")[0]);
  });
}

const REFUSED: readonly (readonly [url: string, host: string | null, words: string])[] = [
  [`http://${FALLBACK}/`, null, "has no Host field"],
  [`http://${FALLBACK}/`, "", "must be one host"],
  ["http://a/b/", "a/b", "must be one host"],
  ["http://a b/", "a b", "must be one host"],
  ["http://a?b/", "a?b", "must be one host"],
  ["http://u@h/", "u@h", "must be one host"],
  ["http://u@h/", "h", "must agree"],
  ["http://a/", "b", "must agree"],
  ["http://a:80/", "a", "must agree"],
  ["ftp://h/", "h", "scheme"],
  ["http://h/x#y", "h", "fragment"],
  ["http://h#y", "h", "must agree"],
  ["http://h/a b", "h", "spaces"],
  ["http://h/\x7f", "h", "control"],
];

for (const [url, field, words] of REFUSED) {
  Deno.test(`readTarget() refuses ${JSON.stringify(url)} with Host ${JSON.stringify(field)}`, () => {
    const error = assertThrows(() => readTarget(url, field, FALLBACK), RequestError, words);
    assertEquals(error.status, 400);
  });
}

Deno.test("readTarget() takes a proxy's own name when a client has written it", () => {
  assertEquals(readTarget(`http://${FALLBACK}/`, FALLBACK, FALLBACK), {
    host: FALLBACK,
    target: "/",
    received: "/",
  });
  assertEquals(shapeOfPath("/"), { end: 1, plain: true });
});

Deno.test("readTarget() changes no character of any target, and tells paths that can be written in another way", () => {
  const character = fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code))
    .filter((char) => char !== "#");
  const rest = fc.string({ unit: fc.oneof(character, fc.constantFrom(..."/.%?é日")), maxLength: 40 });
  const host = fc.constantFrom("h", "shop.example:8080", "[::1]:1", "1.2.3.4");
  fc.assert(
    fc.property(host, rest, (name, text) => {
      const received = `/${text}`;
      const { target, ...others } = readTarget(`http://${name}${received}`, name, FALLBACK);
      const { end, plain } = shapeOfPath(target);
      assertEquals(others, { host: name, received });
      assertEquals(target, received.replace(/[^!-~]/gu, encodeURIComponent));
      const [path = ""] = target.split("?");
      assertEquals(target.slice(0, end), path);
      // One that is called plain has one form and one reading.
      if (plain) {
        assertEquals([normalPath(path), pathReadings(path), countedPath(path)], [path, [path], path]);
      } else assert(/[^A-Za-z0-9\-._~!$&'()*+,=:@/]|\/[/.]/.test(received.split("?")[0]!), received);
    }),
    { seed: 20260303, numRuns: 2000 },
  );
});
