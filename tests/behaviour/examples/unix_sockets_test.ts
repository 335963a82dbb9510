import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/unix_sockets is reached by one socket and reaches its server by another", async () => {
  await using example = await startExample("unix_sockets", {
    ownListen: true,
    permissions: ["--allow-net", "--allow-read", "--allow-write"],
  });
  using client = Deno.createHttpClient({
    proxy: { transport: "unix", path: `${example.folder}/lbproxy.sock` },
  });
  const ask = async (headers: HeadersInit) => {
    const response = await fetch("http://localhost/", { client, headers });
    return [response.status, await response.text()];
  };
  assertEquals(await ask({}), [200, "Hello, nobody\n"]);
  assertEquals(await ask({ "x-forwarded-for": "203.0.113.7" }), [
    200,
    "Hello, 203.0.113.7\n",
  ]);
});
