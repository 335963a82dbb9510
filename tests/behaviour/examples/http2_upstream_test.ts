import { assertEquals } from "@std/assert";
import { latin1Text } from "../../support/raw_connection.ts";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/http2_upstream asks its servers in turn", async () => {
  await using example = await startExample("http2_upstream");
  const names: (string | undefined)[] = [];
  for (let n = 0; n < 4; n++) names.push((await example.ask()).field("x-upstream"));
  assertEquals(names, ["one", "two", "one", "two"]);
});

Deno.test("examples/http2_upstream speaks HTTP/2", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using example = await startExample("http2_upstream", {
    set: { "upstreams.servers": [`127.0.0.1:${listener.addr.port}`] },
  });
  const asked = example.ask();
  const connection = await listener.accept();
  const first = new Uint8Array(14);
  for (let n = 0; n < first.length;) {
    const count = await connection.read(first.subarray(n));
    if (count === null) break;
    n += count;
  }
  // RFC 9113 section 3.4.
  assertEquals(latin1Text(first), "PRI * HTTP/2.0");
  connection.close();
  assertEquals((await asked).status, 502);
});
