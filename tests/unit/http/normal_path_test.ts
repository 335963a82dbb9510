import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  countedPath,
  isAmbiguous,
  normalEncoding,
  normalPath,
  pathReadings,
  resolveSegments,
  segmentReadings,
} from "../../../lib/http/normal_path.ts";

/** What is between the slashes of paths that are meant to confuse. */
const piece = fc.oneof(
  fc.constantFrom(
    "a",
    "b",
    "admin",
    "",
    ".",
    "..",
    "...",
    ".a",
    "%2e",
    "%2E%2e",
    ".%2e",
    "..;",
    ";x",
    "a;b=c",
  ),
  fc.constantFrom(
    "%2f",
    "%2F..%2f",
    "%5c",
    "\\",
    "..\\",
    "%00",
    "%3b",
    "%61",
    "%7E",
    "%40",
    "@",
    "%",
    "%4",
    "%zz",
    "%%36%31",
  ),
  fc.constantFrom(
    "é",
    "%c3%a9",
    "日",
    '"',
    "<",
    "|",
    "^",
    "`",
    "{}",
    "[",
    "%5B",
    "%22",
    "+",
    "%2b",
    "%25",
    "%252e",
    "!",
  ),
  fc.string({ unit: fc.constantFrom(..."ab.%2eEfF5cC;\\"), maxLength: 6 }),
);
const path = fc.array(fc.array(piece, { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 5 })
  .map((segments) => `/${segments.map((pieces) => pieces.join("")).join("/")}`);

/** The normal form as RFC 3986 has it, character by character and segment by segment. */
function naive(text: string): string {
  let encoded = "";
  for (let i = 0; i < text.length;) {
    const point = text.codePointAt(i)!;
    const character = String.fromCodePoint(point);
    const digits = text.slice(i + 1, i + 3);
    if (character === "%" && /^[0-9a-f]{2}$/i.test(digits)) {
      const decoded = String.fromCharCode(Number(`0x${digits}`));
      encoded += "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~".includes(decoded)
        ? decoded
        : `%${digits.toUpperCase()}`;
      i += 3;
      continue;
    }
    const stands = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/"
      .includes(character);
    if (stands) encoded += character;
    else {
      for (const byte of new TextEncoder().encode(character)) {
        encoded += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
      }
    }
    i += character.length;
  }
  while (encoded.includes("//")) encoded = encoded.replace("//", "/");
  return removeDotSegments(encoded);
}

/** RFC 3986 section 5.2.4, in its own words. */
function removeDotSegments(text: string): string {
  let input = text;
  let output = "";
  while (input !== "") {
    if (input.startsWith("/./")) input = input.slice(2);
    else if (input === "/.") input = "/";
    else if (input.startsWith("/../") || input === "/..") {
      input = input === "/.." ? "/" : input.slice(3);
      output = output.slice(0, Math.max(0, output.lastIndexOf("/")));
    } else {
      const next = input.indexOf("/", 1);
      output += next < 0 ? input : input.slice(0, next);
      input = next < 0 ? "" : input.slice(next);
    }
  }
  return output;
}

Deno.test("normalPath() is the normal form of RFC 3986, with slashes merged", () => {
  fc.assert(
    fc.property(path, (text) => {
      const normal = normalPath(text);
      assertEquals(normal, naive(text));
      assertEquals(normalPath(normal), normal, "the form of the form");
      assertEquals(resolveSegments(normalEncoding(text)), normal);
    }),
    { seed: 601, numRuns: 20_000 },
  );
});

Deno.test("normalPath() has one form for all spellings of a path", () => {
  const name = fc.string({ unit: fc.constantFrom(..."abc-._~XY@:+;"), minLength: 1, maxLength: 5 })
    .filter((text) => text !== "." && text !== "..");
  const names = fc.array(name, { minLength: 1, maxLength: 4 });
  // Each character is written by one of two dice, and junk that leads nowhere stands between the segments.
  const dice = fc.infiniteStream(fc.nat(11));
  fc.assert(
    fc.property(names, dice, (segments, stream) => {
      const roll = () => stream.next().value as number;
      const spell = (character: string) => {
        const hex = character.charCodeAt(0).toString(16);
        if (!/[A-Za-z0-9\-._~]/.test(character)) return character;
        return roll() < 4 ? `%${roll() % 2 === 0 ? hex : hex.toUpperCase()}` : character;
      };
      const junk = ["/", "/.", "/%2e", "/x/..", "/x/%2E.", "/x/y/../.."];
      const written = segments.map((text) => {
        const spelt = [...text].map(spell).join("");
        return `${junk[roll()] ?? ""}/${spelt}`;
      }).join("");
      assertEquals(normalPath(written), `/${segments.join("/")}`, written);
    }),
    { seed: 602, numRuns: 5000 },
  );
});

Deno.test("normalPath() agrees with the URL parser about what that resolves", () => {
  // The parser resolves dot segments before it decodes anything but `%2e`, and merges no slashes.
  const text = fc.array(fc.constantFrom("a", "b", ".", "..", "%2e", ".%2E", "c.", "..d"), {
    minLength: 1,
    maxLength: 6,
  })
    .map((segments) => `/${segments.join("/")}`);
  fc.assert(
    fc.property(text, (each) => assertEquals(normalPath(each), new URL(each, "http://h").pathname)),
    { seed: 603, numRuns: 3000 },
  );
});

/** What the readings have to contain: the path as servers of some kinds find it, written out for each kind. */
const SERVERS: Readonly<Record<string, (path: string) => string | undefined>> = {
  "as it stands": (text) => normalEncoding(text),
  "nginx, by files": (text) => naive(decoded(text, /%2F/g)),
  "WHATWG URL": (text) => {
    const url = URL.parse(text.replaceAll("%5C", "\\"), "http://h/");
    return url === null ? undefined : normalEncoding(url.pathname);
  },
  "decoding, unresolved": (text) => decoded(normalEncoding(text), /%2F/g),
  "parameters first": (text) => naive(normalEncoding(text).replaceAll(/;[^/]*/g, "")),
  "parameters last": (text) => naive(decoded(normalEncoding(text), /%2F|%3B/g).replaceAll(/;[^/]*/g, "")),
  "Windows": (text) => naive(decoded(normalEncoding(text), /%2F|%5C/g).replaceAll("\\", "/")),
  "without NUL": (text) => naive(normalEncoding(text).replaceAll("%00", "")),
  "ended by NUL": (text) => naive(normalEncoding(text).split("%00")[0] || "/"),
};

function decoded(text: string, what: RegExp): string {
  return text.replaceAll(what, decodeURIComponent);
}

Deno.test("pathReadings() has what servers of every kind make of a path", () => {
  const few = path.filter((text) => pathReadings(normalEncoding(text)) !== null);
  fc.assert(
    fc.property(few, (text) => {
      const encoded = normalEncoding(text);
      const readings = pathReadings(encoded)!;
      assertEquals(readings[0], encoded);
      assertEquals(new Set(readings).size, readings.length);
      for (const [kind, read] of Object.entries(SERVERS)) {
        const reading = read(encoded);
        assert(
          reading === undefined || readings.includes(reading),
          `${kind} reads ${reading} of ${text}: ${readings.join(" ")}`,
        );
      }
      if (isAmbiguous(encoded)) return;
      // Segments alone: what servers can disagree about leads to few places.
      const places = segmentReadings(encoded)!;
      assertEquals(places.every((place) => readings.includes(place) || !place.includes("//")), true);
      if (!encoded.startsWith("//") && !/\/\.\.(\/|$)/.test(encoded)) assertEquals(places, []);
    }),
    { seed: 604, numRuns: 10_000 },
  );
});

Deno.test("countedPath() is one key for whatever servers may take for the same path", () => {
  const of: Readonly<Record<string, readonly string[]>> = {
    "/login": [
      "/login",
      "/%6cogin",
      "/./login",
      "/%2e/login",
      "/x/../login",
      "/x/%2e%2e/login",
      "/x/..%2flogin",
      "/x/..;/login",
      "/login;x",
      "/login;jsessionid=1;y",
      "/;x/login",
      "/x\\..\\login",
      "/%5clogin",
      "/login%00",
      "/login%00.css",
      "//host/login",
      "/\\host/login".replace("\\", "/"),
      "/%2Flogin",
      "/login%3bx",
    ],
    "/": ["/", "/.", "/..", "/x/..", "//", "/%2e"],
    "/@me": ["/@me", "/%40me"],
    "/caf%C3%A9": ["/caf%c3%a9", "/caf%C3%A9"],
  };
  for (const [key, paths] of Object.entries(of)) {
    for (const each of paths) assertEquals(countedPath(each), key, each);
  }
  // What no server takes for the same is counted by itself.
  for (const each of ["/LOGIN", "/login/", "/login/x", "/loginx"]) assertEquals(countedPath(each), each);
});

Deno.test("countedPath() of a path is that of its normal form, and stays what it is", () => {
  fc.assert(
    fc.property(path.filter((text) => !text.startsWith("//")), (text) => {
      const key = countedPath(text);
      assertEquals(countedPath(normalEncoding(text)), key);
      assertEquals(countedPath(key), key);
    }),
    { seed: 605, numRuns: 5000 },
  );
});

Deno.test("pathReadings() gives up on paths that nobody needs, and does not work on them for long", () => {
  assertEquals(pathReadings(normalEncoding("/a%2F..%2f..%5c;%3b/%00//../%40x")), null);
  const long = `/${"a/../;x%2F%5C".repeat(5000)}`;
  assertEquals(pathReadings(normalEncoding(long)), null);
  assertEquals(segmentReadings(normalEncoding(`/${"a//../b".repeat(9000)}`)), null);
});
