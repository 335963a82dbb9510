import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { isExactTarget } from "../../../../lib/transport/fetch/fetch_messages.ts";

/** The slow way: asks the URL parser every time what would be sent. */
function model(target: string): boolean {
  const url = `http://h${target}`;
  if (!target.startsWith("/") || !URL.canParse(url)) return false;
  const { pathname, search, href } = new URL(url);
  return href === url && href === `http://h${pathname}${search || (url.endsWith("?") ? "?" : "")}`;
}

Deno.test("isExactTarget() is false for what a URL parser changes", () => {
  const changed = [
    "/a/../b",
    "/.",
    "/./",
    "/..",
    "/%2e",
    "/a/%2E%2e/b",
    "/.%2e",
    "/\\",
    "/a b",
    "/#",
    "/a#b",
    '/"',
    "/<>",
  ];
  const more = [
    "/?'",
    '/?"',
    "/?<",
    "/{",
    "/`",
    "/\t",
    "/\n",
    "/\0",
    "/é",
    "/?é",
    "*",
    "",
    "a",
    "http://h/",
    "?x",
  ];
  for (const target of [...changed, ...more]) assert(!isExactTarget(target), target);
});

Deno.test("isExactTarget() is true for what it leaves alone", () => {
  const same = [
    "/",
    "//",
    "/a/b.c/..d/...",
    "/a%2fb",
    "/%zz%",
    "/?",
    "/??",
    "/?a=b&c=%27",
    "/a;b,c@d:e!$&'()*+=~_-",
  ];
  for (const target of [...same, "/[]|^", "/?{}|\\^`", "/a.", "/.a", "/%2"]) {
    assert(isExactTarget(target), target);
  }
});

Deno.test("isExactTarget() agrees with the URL parser (property)", () => {
  const pieces = [
    "/",
    ".",
    "%2e",
    "%2E",
    "%",
    "2",
    "a",
    "?",
    "#",
    "\\",
    "'",
    '"',
    " ",
    "é",
    "{",
    "|",
    ":",
    "@",
    "*",
    "\t",
  ];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 12 }), (parts) => {
      const target = "/" + parts.join("");
      assertEquals(isExactTarget(target), model(target), target);
    }),
    { seed: 20260105, numRuns: 5000 },
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => isExactTarget(text) === model(text)),
    { seed: 20260106, numRuns: 2000 },
  );
});
