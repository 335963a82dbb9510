import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";
import { TestCa } from "../../support/test_ca.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";
import { testCa } from "../../support/test_ca.ts";

Deno.test("examples/custom_ca trusts the authority of its file, and no other", async () => {
  await using upstream = await tlsUpstream({ names: ["inside.example"] });
  const folder = await Deno.makeTempDir();
  const cases = [[(await testCa()).cert, 200], [(await TestCa.create("Other")).cert, 502]] as const;
  for (const [cert, status] of cases) {
    const file = `${folder}/ca.pem`;
    await Deno.writeTextFile(file, cert);
    await using example = await startExample("custom_ca", {
      set: { "upstreams.servers": [upstream.address] },
      permissions: ["--allow-net", "--allow-read", "--allow-env"],
      env: { CA_FILE: file },
    });
    assertEquals((await example.ask()).status, status);
  }
  await Deno.remove(folder, { recursive: true });
});
