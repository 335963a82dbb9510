import { assertEquals, assertStringIncludes } from "@std/assert";
import { certificateFiles } from "../../support/certificate_files.ts";
import { startExample } from "../../support/start_example.ts";
import { trustingClient } from "../../support/tls_client.ts";

Deno.test("examples/real_service serves a site and an API with keys, limits, logs, metrics and an admin listener", async () => {
  await using files = await certificateFiles(["localhost"]);
  await using example = await startExample("real_service", {
    ownListen: true,
    permissions: ["-A"],
    env: { LBPROXY_ADMIN_TOKEN: "a-token-of-16-characters" },
    set: {
      listen: [
        { hostname: "127.0.0.1", port: 0, tls: { cert: files.cert, key: files.key } },
        { hostname: "127.0.0.1", port: 0, redirect: "https:6143" },
      ],
      "admin.listen": "127.0.0.1:0",
    },
  });
  const [, admin] = await example.program.stderrMatch(/[Aa]dmin\D*127\.0\.0\.1:(\d+)/);
  using client = await trustingClient("h1");
  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const response = await fetch(`https://localhost:${example.port}${path}`, { client, headers });
    return { status: response.status, text: await response.text(), headers: response.headers };
  };

  const site = await ask("/", { "accept-encoding": "gzip" });
  assertEquals(site.status, 200);
  assertStringIncludes(site.text, "Hello from site");
  assertEquals(site.headers.get("x-content-type-options"), "nosniff");

  assertEquals((await ask("/api/orders")).status, 401);
  const order = await ask("/api/orders", { "x-api-key": "key-of-ann" });
  assertStringIncludes(order.text, "x-customer: ann");
  assertEquals(order.text.includes("key-of-ann"), false);
  const asked = await Promise.all(
    Array.from({ length: 20 }, () => ask("/api/orders", { "x-api-key": "key-of-ann" })),
  );
  assertEquals([...new Set(asked.map(({ status }) => status))].sort(), [200, 429]);

  const watch = async (path: string) => await (await fetch(`http://127.0.0.1:${admin}${path}`)).text();
  assertEquals(JSON.parse(await watch("/status")).pools.length, 2);
  assertStringIncludes(await watch("/metrics"), 'lbproxy_requests_total{route="api"');
  assertStringIncludes(await watch("/readyz"), "ready");

  const { code, stdout } = await example.stop();
  assertEquals(code, 0);
  const entries = stdout.trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(entries.some(({ route, status }) => route === "api" && status === 429), true);
});
