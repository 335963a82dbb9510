/** Field names that are met often, by number: comparing numbers is cheaper than making strings. */

/** The number of a name that is not in the table. */
export const OTHER_FIELD = 0;

const NAMES: readonly string[] = [
  "",
  // What concerns one connection only; see `isHopByHopId`.
  ..."connection keep-alive te trailer upgrade http2-settings proxy-connection transfer-encoding".split(" "),
  ..."proxy-authenticate proxy-authorization".split(" "),
  // What the codec, the proxy or the limiter looks at.
  ..."host content-length expect via forwarded x-forwarded-for x-forwarded-proto x-forwarded-host".split(" "),
  ..."x-real-ip x-forwarded-port cookie set-cookie content-type content-encoding etag date server".split(" "),
  ..."ratelimit ratelimit-policy x-rate-limit-remaining x-ratelimit-remaining retry-after".split(" "),
  ..."x-rate-limit-limit x-rate-limit-reset x-ratelimit-limit x-ratelimit-reset authorization".split(" "),
  ..."x-request-id traceparent tracestate sec-websocket-key sec-websocket-version".split(" "),
  ..."sec-websocket-protocol sec-websocket-extensions sec-websocket-accept origin referer user-agent".split(
    " ",
  ),
  // Common ones, so that a filter which reads them gets no new string.
  ..."accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-credentials"
    .split(" "),
  ..."access-control-allow-headers access-control-allow-methods access-control-allow-origin age allow".split(
    " ",
  ),
  ..."access-control-expose-headers access-control-max-age access-control-request-headers alt-svc".split(" "),
  ..."access-control-request-method cache-control content-disposition content-language content-location"
    .split(" "),
  ..."content-range content-security-policy cross-origin-opener-policy cross-origin-resource-policy".split(
    " ",
  ),
  ..."dnt expires if-match if-modified-since if-none-match if-range if-unmodified-since last-modified".split(
    " ",
  ),
  ..."link location max-forwards permissions-policy pragma priority range referrer-policy".split(" "),
  ..."sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site".split(" "),
  ..."sec-fetch-user server-timing strict-transport-security upgrade-insecure-requests vary".split(" "),
  ..."www-authenticate x-api-key x-cache x-content-type-options x-frame-options x-powered-by".split(" "),
  ..."cdn-loop x-requested-with x-response-time x-runtime x-xss-protection idempotency-key".split(" "),
];

const IDS: ReadonlyMap<string, number> = new Map(NAMES.map((name, id) => [name, id]));

/** The number of a name in lower case; {@linkcode OTHER_FIELD} when the table does not have it. */
export function fieldId(name: string): number {
  return IDS.get(name) ?? OTHER_FIELD;
}

/** The name, in lower case, of a number other than {@linkcode OTHER_FIELD}. */
export function nameOfId(id: number): string {
  return NAMES[id]!;
}

const LAST_HOP_BY_HOP = fieldId("proxy-authorization");

/**
 * Whether the field belongs to the connection and not to the message (RFC 9110 section 7.6.1, RFC 7540 section 3.2.1,
 * and what implementations have added).
 */
export function isHopByHopId(id: number): boolean {
  return id !== OTHER_FIELD && id <= LAST_HOP_BY_HOP;
}

/** A letter in lower case, every other byte as it is. */
export const LOWER: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte >= 65 && byte <= 90 ? byte + 32 : byte,
);

const SLOTS = 1024;

function slotOf(length: number, first: number, middle: number, last: number): number {
  return (length * 131 + first * 29 + middle * 7 + last * 61) & (SLOTS - 1);
}

/** Open addressing; 0 is an empty slot. */
const TABLE: Uint8Array = new Uint8Array(SLOTS);
const LETTERS: readonly Uint8Array[] = NAMES.map((name) =>
  Uint8Array.from(name, (character) => character.charCodeAt(0))
);

NAMES.forEach((name, id) => {
  if (name === "") return;
  const { length } = name;
  let slot = slotOf(length, name.charCodeAt(0), name.charCodeAt(length >> 1), name.charCodeAt(length - 1));
  while (TABLE[slot] !== 0) slot = (slot + 1) & (SLOTS - 1);
  TABLE[slot] = id;
});

/** The number of the name in `bytes[from..to)`, at least one byte, whatever its case. */
export function fieldIdOf(bytes: Uint8Array, from: number, to: number): number {
  const length = to - from;
  let slot = slotOf(
    length,
    LOWER[bytes[from]!]!,
    LOWER[bytes[from + (length >> 1)]!]!,
    LOWER[bytes[to - 1]!]!,
  );
  for (let id = TABLE[slot]!; id !== 0; id = TABLE[slot]!) {
    if (equalsName(LETTERS[id]!, bytes, from, length)) return id;
    slot = (slot + 1) & (SLOTS - 1);
  }
  return OTHER_FIELD;
}

/** Whether `length` bytes from an index on are these lower-case letters, whatever their case. */
export function equalsName(letters: Uint8Array, bytes: Uint8Array, from: number, length: number): boolean {
  if (letters.length !== length) return false;
  for (let i = 0; i < length; i++) {
    if (LOWER[bytes[from + i]!] !== letters[i]) return false;
  }
  return true;
}
