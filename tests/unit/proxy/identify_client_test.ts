import { assertEquals } from "@std/assert";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { type TrustedField, TrustedProxies } from "../../../lib/http/trusted_proxies.ts";
import type { ClientStream } from "../../../lib/proxy/client_stream.ts";
import { identifyClient, type Identity } from "../../../lib/proxy/exchange.ts";

function identify(peerIp: string, fields: Record<string, string>, field: TrustedField | null): Identity {
  const headers = new HeaderFields(Object.entries(fields));
  const stream = { peerIp, peerPort: 4711, certificate: null, listener: { scheme: "http" }, headers };
  const trusted = field === null ? null : new TrustedProxies(["loopback"], field);
  return identifyClient(trusted, stream as unknown as ClientStream);
}

const FIELDS = {
  "x-forwarded-for": "203.0.113.9",
  "x-forwarded-proto": "https",
  "x-forwarded-host": "shop.example",
  forwarded: "for=198.51.100.7;proto=https;host=other.example",
};

Deno.test("identifyClient() is the peer where nobody is trusted, and where the peer is not", () => {
  for (const [peerIp, field] of [["127.0.0.1", null], ["192.0.2.1", "x-forwarded-for"]] as const) {
    assertEquals(identify(peerIp, FIELDS, field), {
      client: { ip: peerIp, port: 4711, certificate: null },
      peerIp,
      peerScheme: "http",
      scheme: "http",
      forwardedHost: null,
      forwardedFor: null,
      forwarded: null,
    });
  }
});

Deno.test("identifyClient() is whom a trusted peer names, by the one field that counts", () => {
  const peer = { peerIp: "127.0.0.1", peerScheme: "http", scheme: "https" };
  assertEquals(identify("127.0.0.1", FIELDS, "x-forwarded-for"), {
    ...peer,
    client: { ip: "203.0.113.9", port: 0, certificate: null },
    forwardedHost: "shop.example",
    forwardedFor: "203.0.113.9",
    forwarded: null,
  });
  assertEquals(identify("127.0.0.1", FIELDS, "forwarded"), {
    ...peer,
    client: { ip: "198.51.100.7", port: 0, certificate: null },
    forwardedHost: "other.example",
    forwardedFor: null,
    forwarded: FIELDS.forwarded,
  });
});

Deno.test("identifyClient() keeps the port of a trusted peer that names nobody", () => {
  const { client, scheme } = identify("127.0.0.1", {}, "x-forwarded-for");
  assertEquals({ client, scheme }, {
    client: { ip: "127.0.0.1", port: 4711, certificate: null },
    scheme: "http",
  });
});
