import { assertEquals, assertThrows } from "@std/assert";
import { RequestError } from "../../../lib/core/errors.ts";
import { readProxyHeader, writeProxyHeader } from "../../../lib/http1/proxy_protocol.ts";
import { latin1Bytes, latin1Text } from "../../support/raw_connection.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const V4 = { ip: "192.0.2.1", port: 56324, localIp: "198.51.100.7", localPort: 443 };
const V6 = { ip: "2001:db8::1", port: 1, localIp: "2001:db8:0:1::ffff", localPort: 65535 };
const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";

/** A header of version 2. */
function v2(versionAndCommand: number, family: number, rest: string | Bytes): Bytes {
  const bytes = typeof rest === "string" ? latin1Bytes(rest) : rest;
  const fixed = [...latin1Bytes(SIGNATURE), versionAndCommand, family, bytes.length >> 8, bytes.length & 255];
  return Uint8Array.from([...fixed, ...bytes]);
}

/** Addresses and ports of {@linkcode V4} in version 2. */
const V4_BYTES = Uint8Array.of(192, 0, 2, 1, 198, 51, 100, 7, 220, 4, 1, 187);

/** An addition: type, length, value. */
function addition(type: number, value: readonly number[]): number[] {
  return [type, value.length >> 8, value.length & 255, ...value];
}

/** The CRC of Castagnoli, as a division of polynomials whose bits come the wrong way round. */
function crc32c(bytes: Uint8Array): number {
  let rest = 0xffff_ffffn;
  for (let i = 0; i < bytes.length * 8; i++) {
    const bit = BigInt((bytes[i >> 3]! >> (i & 7)) & 1) ^ (rest >> 31n);
    rest = ((rest << 1n) & 0xffff_ffffn) ^ (bit === 1n ? 0x1edc_6f41n : 0n);
  }
  let reversed = 0;
  for (let i = 0n; i < 32n; i++) reversed = reversed * 2 + Number((rest >> i) & 1n);
  return (~reversed) >>> 0;
}

/** A header with a checksum, which is off by so much. */
function withChecksum(off = 0): Bytes {
  const rest = [...V4_BYTES, ...addition(4, [0, 0]), ...addition(3, [0, 0, 0, 0]), ...addition(0xea, [1])];
  const header = v2(0x21, 0x11, Uint8Array.from(rest));
  new DataView(header.buffer).setUint32(16 + 12 + 5 + 3, crc32c(header) + off);
  return header;
}

/** Reads it with bytes behind it, whole and in every two pieces. */
function read(header: string | Bytes) {
  const bytes = typeof header === "string" ? latin1Bytes(header) : header;
  const all = Uint8Array.from([...bytes, ...latin1Bytes("GET / HTTP/1.1\r\n")]);
  for (let cut = 0; cut < bytes.length; cut++) assertEquals(readProxyHeader(all, cut), null, `cut at ${cut}`);
  const found = readProxyHeader(all, all.length);
  assertEquals(readProxyHeader(all, bytes.length), found);
  assertEquals(found?.length, bytes.length);
  return found!.addresses;
}

Deno.test("readProxyHeader() reads version 1, however it is cut", () => {
  assertEquals(read("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"), V4);
  assertEquals(read("PROXY TCP6 2001:DB8:0::1 2001:db8:0:1:0:0:0:ffff 1 65535\r\n"), V6);
  assertEquals(read("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 0\r\n")?.ip, "192.0.2.1");
  assertEquals(read("PROXY UNKNOWN\r\n"), null);
  assertEquals(read("PROXY UNKNOWN whatever else\r\n"), null);
  assertEquals(read(`PROXY UNKNOWN ${"x".repeat(107 - 16)}\r\n`), null);
});

Deno.test("readProxyHeader() reads version 2, however it is cut", () => {
  assertEquals(read(v2(0x21, 0x11, V4_BYTES)), V4);
  assertEquals(read(writeProxyHeader(2, V6)), V6);
  assertEquals(
    read(v2(0x21, 0x11, Uint8Array.from([...V4_BYTES, ...addition(2, [1, 2, 3]), ...addition(0x20, [])]))),
    V4,
  );
  assertEquals(crc32c(latin1Bytes("123456789")), 0xe3069283);
  assertEquals(read(withChecksum()), V4);
});

Deno.test("readProxyHeader() takes nothing from LOCAL, and from families that are not ours", () => {
  assertEquals(read(v2(0x20, 0x00, "")), null);
  assertEquals(read(v2(0x20, 0x11, V4_BYTES)), null);
  // What stands behind it does not count then, whatever it is.
  assertEquals(read(v2(0x20, 0xff, "rubbish")), null);
  assertEquals(read(v2(0x21, 0x00, "")), null);
  assertEquals(read(v2(0x21, 0x12, V4_BYTES)), null);
  assertEquals(read(v2(0x21, 0x31, "\0".repeat(216))), null);
});

const BAD: Readonly<Record<string, string | Bytes>> = {
  "no header": "GET / HTTP/1.1\r\n",
  "another case": "proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
  "two blanks": "PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
  "two blanks between addresses": "PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n",
  "a blank at the end": "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n",
  "LF alone": "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
  "CR alone": "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\rX",
  "no ports": "PROXY TCP4 192.0.2.1 198.51.100.7\r\n",
  "one port": "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
  "a port above all": "PROXY TCP4 192.0.2.1 198.51.100.7 65536 1\r\n",
  "a port with a zero in front": "PROXY TCP4 192.0.2.1 198.51.100.7 080 1\r\n",
  "a port with a sign": "PROXY TCP4 192.0.2.1 198.51.100.7 +80 1\r\n",
  "an octal address": "PROXY TCP4 192.0.02.1 198.51.100.7 1 2\r\n",
  "IPv6 as TCP4": "PROXY TCP4 ::1 ::1 1 2\r\n",
  "IPv4 as TCP6": "PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
  "an address with a zone": "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
  "another family": "PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",
  "a family that begins like one": "PROXY UNKNOWNS\r\n",
  "a line without end": `PROXY UNKNOWN ${"x".repeat(200)}`,
  "a line that is too long": `PROXY UNKNOWN ${"x".repeat(107 - 15)}\r\n`,
  "another signature": "\r\n\r\n\0\r\nQUIX\n",
  "version 1 in the second form": v2(0x11, 0x11, V4_BYTES),
  "version 3": v2(0x31, 0x11, V4_BYTES),
  "an unknown command": v2(0x22, 0x11, V4_BYTES),
  "an unknown family": v2(0x21, 0x41, V4_BYTES),
  "an unknown protocol": v2(0x21, 0x13, V4_BYTES),
  "half of the addresses": v2(0x21, 0x11, V4_BYTES.slice(0, 11)),
  "IPv6 with the bytes of IPv4": v2(0x21, 0x21, V4_BYTES),
  "more than is read": v2(0x21, 0x11, "\0".repeat(4096)),
  "half of an addition": v2(0x21, 0x11, Uint8Array.from([...V4_BYTES, 2, 0])),
  "an addition without all of its value": v2(0x21, 0x11, Uint8Array.from([...V4_BYTES, 2, 0, 2, 1])),
  "a checksum of three bytes": v2(0x21, 0x11, Uint8Array.from([...V4_BYTES, ...addition(3, [0, 0, 0])])),
  "a wrong checksum": withChecksum(1),
};

for (const [what, header] of Object.entries(BAD)) {
  Deno.test(`readProxyHeader() refuses ${what}, at the same byte however it is cut`, () => {
    const bytes = typeof header === "string" ? latin1Bytes(header) : header;
    const { status } = assertThrows(() => readProxyHeader(bytes, bytes.length), RequestError);
    assertEquals(status, 400);
    let refused = false;
    for (let filled = 0; filled <= bytes.length; filled++) {
      try {
        assertEquals(readProxyHeader(bytes, filled), null, `with ${filled} bytes`);
        assertEquals(refused, false, `with ${filled} bytes`);
      } catch (error) {
        if (!(error instanceof RequestError)) throw error;
        refused = true;
      }
    }
    assertEquals(refused, true);
  });
}

Deno.test("writeProxyHeader() writes version 1", () => {
  const write = (addresses: Parameters<typeof writeProxyHeader>[1]) =>
    latin1Text(writeProxyHeader(1, addresses));
  assertEquals(write(V4), "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n");
  assertEquals(write(V6), "PROXY TCP6 2001:db8::1 2001:db8:0:1::ffff 1 65535\r\n");
  assertEquals(write({ ...V4, localIp: "::1" }), "PROXY TCP6 ::ffff:c000:201 ::1 56324 443\r\n");
  assertEquals(write({ ...V4, localIp: "", localPort: 0 }), "PROXY TCP4 192.0.2.1 0.0.0.0 56324 0\r\n");
  assertEquals(write({ ...V6, localIp: "", localPort: 0 }), "PROXY TCP6 2001:db8::1 :: 1 0\r\n");
  assertEquals(write(null), "PROXY UNKNOWN\r\n");
  assertEquals(write({ ...V4, ip: "unknown" }), "PROXY UNKNOWN\r\n");
});

Deno.test("writeProxyHeader() writes version 2", () => {
  assertEquals(writeProxyHeader(2, V4), v2(0x21, 0x11, V4_BYTES));
  assertEquals(writeProxyHeader(2, null), v2(0x20, 0x00, ""));
  // A client is there, although nobody knows who.
  assertEquals(writeProxyHeader(2, { ...V4, ip: "unknown" }), v2(0x21, 0x00, ""));
  assertEquals(read(writeProxyHeader(2, { ...V4, localIp: "::1" })), { ...V4, localIp: "::1" });
});
