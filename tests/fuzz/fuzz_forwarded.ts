/** What clients say of proxies in front, beside naive readers of RFC 7239 and of lists. */

import { seededRandom } from "../../lib/core/random.ts";
import { readForwarded, writeForwarded } from "../../lib/http/proxy_fields.ts";
import { TrustedProxies } from "../../lib/http/trusted_proxies.ts";
import type { Ending } from "./fuzz.ts";
import { oneOf, textOf } from "./make_text.ts";

const ADDRESSES = [
  "192.0.2.1",
  "10.0.0.1",
  "10.255.0.9",
  "2001:db8::1",
  "fd00::1",
  "::ffff:10.0.0.2",
] as const;
const PIECES = [
  ...ADDRESSES,
  ...ADDRESSES.map((address) => `for=${address}`),
  ...ADDRESSES.map((address) => `for="[${address}]:80"`),
  ...'for= For= by= host= proto= for=unknown for=_x proto=https host=a.example , , , ; ; = " " \\ \\" [ ] : x'
    .split(" "),
  ...[
    " ",
    "\t",
    'host="a,b"',
    'host="a;b"',
    'host="a\\"b"',
    "for=10.0.0.1, for=10.0.0.1",
    "999.1.1.1",
    "1.2.3",
    ":80",
    "unknown",
  ],
];
const TRUSTED = new TrustedProxies(["10.0.0.0/8", "fd00::/8"], "forwarded");
const TRUSTED_LIST = new TrustedProxies(["10.0.0.0/8", "fd00::/8"], "x-forwarded-for");
const UNKNOWN_CLIENT = "unknown";
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

type Elements = ReturnType<typeof readForwarded>["elements"];

/** Reads the whole field from left to right by the grammar of RFC 7239; `null` when it is not all of that. */
function readWhole(field: string): Elements | null {
  let at = 0;
  const skip = () => {
    while (field[at] === " " || field[at] === "\t") at++;
  };
  const elements: { for: string | null; host: string | null; proto: string | null }[] = [];
  for (;;) {
    const pairs = new Map<string, string>();
    for (;;) {
      skip();
      let name = "";
      while (at < field.length && TOKEN.test(field[at]!)) name += field[at++];
      if (name !== "") {
        if (field[at++] !== "=") return null;
        let value = "";
        if (field[at] === '"') {
          for (at++; field[at] !== '"'; at++) {
            if (at >= field.length) return null;
            if (field[at] === "\\") at++;
            if (at >= field.length) return null;
            value += field[at];
          }
          at++;
        } else {
          // Colons and brackets are let pass in an address without quotes.
          while (at < field.length && (TOKEN.test(field[at]!) || ":[]".includes(field[at]!))) {
            value += field[at++];
          }
          if (value === "") return null;
        }
        if (pairs.has(name.toLowerCase())) return null;
        pairs.set(name.toLowerCase(), value);
        skip();
      }
      if (field[at] !== ";") break;
      at++;
    }
    if (pairs.size === 0) return null;
    elements.push({
      for: pairs.get("for") ?? null,
      host: pairs.get("host") ?? null,
      proto: pairs.get("proto") ?? null,
    });
    if (at === field.length) return elements;
    if (field[at++] !== ",") return null;
  }
}

/** The address that a list says, read from its right end. */
function nearestOf(peer: string, list: string): string {
  let client = peer;
  for (const entry of list.split(",").reverse()) {
    const text = entry.trim();
    const address = /^\[(.+)\](:\d{1,5})?$/.exec(text)?.[1] ?? /^([0-9.]+):\d{1,5}$/.exec(text)?.[1] ?? text;
    const plain = address.startsWith("::ffff:10.") ? address.slice(7) : address;
    if (!isAddress(address)) return UNKNOWN_CLIENT;
    client = plain;
    if (!plain.startsWith("10.") && !plain.startsWith("fd00:")) return client;
  }
  return client;
}

function isAddress(text: string): boolean {
  if (text.includes(":")) return !/[^0-9a-f:.]/i.test(text) && URL.canParse(`http://[${text}]/`);
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256);
}

/** One field `Forwarded` and one `X-Forwarded-For`. */
export function fuzzForwarded(seed: number): Ending {
  const random = seededRandom(seed);
  const field = textOf(random, PIECES, 8).trim();
  const { elements, text } = readForwarded(field);
  const whole = readWhole(field);
  if (whole !== null) same("from the right", elements, "from the left", whole);
  if (!field.endsWith(text)) throw new Error(`${JSON.stringify(text)} is no end of it`);
  if (text !== "") same("its end", readForwarded(text), "the same read again", { elements, text });
  // What this proxy adds is read as it was written, whatever stands in front of it.
  const [peer, host] = [oneOf(random, ADDRESSES), oneOf(random, ["a.example", "h:80", 'a"b'])];
  const own = writeForwarded(peer, host, "https");
  const last = readForwarded(`${field}, ${own}`).elements.at(-1);
  const said = { for: peer.includes(":") ? `[${peer}]` : peer, host, proto: "https" };
  same("what was added", last, "what was written", said);
  const asked = TRUSTED.ask("10.0.0.1", { get: (name) => name === "forwarded" ? field : null });
  if (asked.clientIp !== UNKNOWN_CLIENT && !isAddress(asked.clientIp)) {
    throw new Error(`client ${asked.clientIp}`);
  }
  const list = textOf(random, [
    ...ADDRESSES,
    ",",
    ",",
    ", ",
    " ",
    ":80",
    "[",
    "]",
    "unknown",
    "x",
    "1.2.3",
    "256.1.1.1",
  ], 8).trim();
  const fields = { get: (name: string) => name === "x-forwarded-for" ? list : null };
  const { clientIp } = TRUSTED_LIST.ask("10.0.0.1", fields);
  same(`the client of ${JSON.stringify(list)}`, clientIp, "naively", nearestOf("10.0.0.1", list));
  const outcome = whole !== null ? "readable" : text === "" ? "unreadable" : "in part";
  return { outcome, reason: clientIp === UNKNOWN_CLIENT ? "unknown" : "known", messages: elements.length };
}

function same(first: string, a: unknown, second: string, b: unknown): void {
  const [one, other] = [JSON.stringify(a), JSON.stringify(b)];
  if (one !== other) throw new Error(`${first} ${one}, ${second} ${other}`);
}
