import { assertEquals } from "@std/assert";
import { certificateFiles } from "../../support/certificate_files.ts";
import { checkExample, startExample } from "../../support/start_example.ts";
import { askAt } from "../../support/start_proxy.ts";
import { testCa } from "../../support/test_ca.ts";
import { tlsClient, trustingClient } from "../../support/tls_client.ts";

Deno.test("examples/tls_listener speaks HTTP/2 over TLS, redirects, and takes a new certificate", async () => {
  await using files = await certificateFiles(["localhost"]);
  await using example = await startExample("tls_listener", {
    ownListen: true,
    set: {
      listen: [
        { hostname: "127.0.0.1", port: 0, tls: { cert: files.cert, key: files.key } },
        { hostname: "127.0.0.1", port: 0, redirect: "https:6143" },
      ],
    },
  });
  using client = await trustingClient("h2");
  const response = await fetch(`https://localhost:${example.port}/path`, { client });
  assertEquals((await response.text()).includes("\nx-forwarded-proto: https\n"), true);
  const [, plain] = await example.program.stderrMatch(/Listening on \S+, \S+:(\d+) \(/);
  const answer = await askAt(Number(plain), "GET /path", ["Host: localhost:6188"]);
  assertEquals([answer.status, answer.field("location")], [308, "https://localhost:6143/path"]);
  await files.issue(["renewed.example"]);
  await example.program.stderrMatch(/New certificate on/);
  using renewed = await tlsClient(example.port, "renewed.example");
  await renewed.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await renewed.readResponse()).status, 200);
});

Deno.test("examples/tls_listener names the files of its certificate", async () => {
  const { cert, key } = await (await testCa()).issue({ names: ["localhost"] });
  const files = { "cert.pem": cert, "key.pem": key };
  const lines = (await checkExample("tls_listener", { files })).split("\n");
  assertEquals(lines.filter((line) => line.startsWith("listen ")), [
    "listen    127.0.0.1:6143, TLS with HTTP/2, certificate from cert.pem and key.pem, read again on change",
    "listen    127.0.0.1:6188, redirects clients to https at port 6143",
  ]);
});
