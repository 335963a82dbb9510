/** The tutorial's servers are out on the internet: here their addresses, and nothing else, are those of local ones. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { checkExample, startExample } from "../../support/start_example.ts";
import { testCa } from "../../support/test_ca.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";

Deno.test("examples/tutorial means what the Rust program says", async () => {
  const text = await checkExample("tutorial");
  for (
    const part of [
      "0.0.0.0:6188",
      "1.1.1.1:443",
      "1.0.0.1:443",
      "one.one.one.one",
      "at most 1 request per 1s for each header appid",
    ]
  ) assertStringIncludes(text, part);
});

Deno.test("examples/tutorial takes TLS servers in turn, by the name and Host of the tutorial, and limits by appid", async () => {
  await using one = await tlsUpstream({ name: "one" });
  await using two = await tlsUpstream({ name: "two" });
  await using example = await startExample("tutorial", {
    set: {
      "upstreams.servers": [one.address, two.address],
      "upstreams.tls.caCerts": [(await testCa()).cert],
      // A machine may be slow: the three requests have to fall into one window.
      "limiter.window": "1m",
    },
  });

  const answers = [
    await example.ask("GET /"),
    await example.ask("GET /", ["appid: myclient"]),
    await example.ask("GET /", ["appid: myclient"]),
    await example.ask("GET /"),
  ];

  assertEquals(answers.map(({ status }) => status), [200, 200, 429, 200]);
  const names = [
    "x-rate-limit-limit",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "retry-after",
    "connection",
  ];
  assertEquals(names.map((name) => answers[2]!.field(name)?.replace(/^\d\d$/, "sec")), [
    "1",
    "0",
    "sec",
    "sec",
    "close",
  ]);
  const seen = [...one.seen, ...two.seen];
  assertEquals(seen.map(({ headers }) => headers.get("host")), Array(3).fill("one.one.one.one"));
  assertEquals([one.requests, two.requests].sort(), [1, 2]);
});

Deno.test("examples/tutorial refuses servers whose certificate is for another name", async () => {
  await using impostor = await tlsUpstream({ names: ["two.two.two.two"] });
  await using example = await startExample("tutorial", {
    set: { "upstreams.servers": [impostor.address], "upstreams.tls.caCerts": [(await testCa()).cert] },
  });

  const { status, field } = await example.ask("GET /");

  assertEquals(status, 502);
  assertStringIncludes(field("proxy-status") ?? "", "tls_certificate_error");
  assertEquals(impostor.requests, 0);
});
