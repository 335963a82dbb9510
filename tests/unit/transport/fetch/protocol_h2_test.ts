import { assertEquals } from "@std/assert";
import { FetchTransport } from "../../../../lib/transport/fetch/fetch_transport.ts";
import { bytesBody, streamBody } from "../../../support/request_body.ts";
import { startUpstream } from "../../../support/start_upstream.ts";
import { testCa } from "../../../support/test_ca.ts";
import { tlsUpstream } from "../../../support/tls_upstream.ts";
import { Bench, bodyText, peerOf } from "../behaviour.ts";
import type { TestedTransport } from "../tested_transports.ts";

const H2: TestedTransport = {
  name: "fetch by h2",
  cannot: new Set(),
  create: (wheel) => new FetchTransport({ wheel, protocol: "h2" }),
};

Deno.test("FetchTransport with h2 sends requests by HTTP/2 without TLS, under the name in Host", async () => {
  using bench = new Bench(H2);
  const urls: string[] = [];
  await using upstream = startUpstream({
    handler: async (request) => {
      urls.push(request.url);
      return new Response(await request.text());
    },
  });
  const headers: [string, string][] = [["host", "a.example:8080"], ["x", "y"]];
  for (const body of [bytesBody("content"), streamBody(["con", "tent"])]) {
    const response = await bench.send(peerOf(upstream.address), {
      method: "POST",
      target: "/a?b",
      headers,
      body,
    });
    assertEquals([response.status, await bodyText(response)], [200, "content"]);
  }
  assertEquals(urls, ["http://a.example:8080/a?b", "http://a.example:8080/a?b"]);
  assertEquals(upstream.seen[0]?.headers.get("x"), "y");
});

Deno.test("FetchTransport with h2 reaches a server by address under another name", async () => {
  using bench = new Bench(H2);
  await using upstream = await tlsUpstream({ name: "secure" });
  const peer = peerOf(upstream.address, { caCerts: [(await testCa()).cert] });
  const responses = await Promise.all([1, 2, 3].map(() => bench.send(peer).then(bodyText)));
  assertEquals(responses, ["secure", "secure", "secure"]);
});
