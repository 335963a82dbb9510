import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { formatAddress, parseAddress } from "../../../lib/upstream/peer.ts";

Deno.test("parseAddress() reads hosts, ports, schemes and unix sockets", () => {
  const cases: [string, string, number, boolean | null][] = [
    ["1.1.1.1:443", "1.1.1.1", 443, null],
    ["localhost:1", "localhost", 1, null],
    ["under_score.example:65535", "under_score.example", 65535, null],
    ["[::1]:80", "::1", 80, null],
    ["[fe80::1%eth0]:80", "fe80::1%eth0", 80, null],
    ["[::ffff:1.2.3.4]:80", "::ffff:1.2.3.4", 80, null],
    ["http://a.example", "a.example", 80, false],
    ["https://a.example", "a.example", 443, true],
    ["https://a.example/", "a.example", 443, true],
    ["https://a.example:8443", "a.example", 8443, true],
    ["http://[::1]", "::1", 80, false],
    ["http://[::1]:8080/", "::1", 8080, false],
  ];
  for (const [text, hostname, port, secure] of cases) {
    assertEquals(parseAddress(text), { address: { kind: "tcp", hostname, port }, secure }, text);
  }
  assertEquals(parseAddress("unix:/run/a b.sock"), {
    address: { kind: "unix", path: "/run/a b.sock" },
    secure: null,
  });
});

Deno.test("parseAddress() refuses everything else", () => {
  const bad = [
    "",
    "a",
    "a:",
    ":80",
    "a:0",
    "a:65536",
    "a:999999",
    "a:-1",
    "a:8o",
    "a:80:80",
    "::1:80",
    "[::1]",
    "[]:80",
  ];
  const worse = [
    "a b:80",
    "a/b:80",
    "user@a:80",
    "http://a/path",
    "http://a?x",
    "ftp://a:21",
    "unix:",
    "unix:a.sock",
  ];
  const worst = [
    "http://",
    "https://:80",
    "a:80/",
    "a:80 ",
    " a:80",
    "[a.example]:80",
    "a,b:80",
    "http://u:p@a:80",
  ];
  for (const text of [...bad, ...worse, ...worst]) assertEquals(parseAddress(text), undefined, text);
});

Deno.test("formatAddress() writes what parseAddress() reads (property)", () => {
  const hostname = fc.constantFrom(
    "a",
    "a.example",
    "127.0.0.1",
    "::1",
    "fe80::1%eth0",
    "2001:db8::ff00:42:8329",
  );
  fc.assert(
    fc.property(hostname, fc.integer({ min: 1, max: 65535 }), (hostname, port) => {
      const address = { kind: "tcp", hostname, port } as const;
      assertEquals(parseAddress(formatAddress(address)), { address, secure: null });
    }),
    { seed: 20260104 },
  );
  const socket = { kind: "unix", path: "/run/x.sock" } as const;
  assertEquals(parseAddress(formatAddress(socket)), { address: socket, secure: null });
});
