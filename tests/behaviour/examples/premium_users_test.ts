import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/premium_users lets premium users ask more", async () => {
  // An hour in place of a second: nothing comes back while the test runs.
  await using example = await startExample("premium_users", { set: { "limiter.window": "1h" } });
  const admitted = async (cookie: string, of: number) => {
    let count = 0;
    for (let n = 0; n < of; n++) {
      if ((await example.ask("GET /", [`Cookie: ${cookie}`])).status === 200) count++;
    }
    return count;
  };
  assertEquals(await admitted("a=b; session=ann", 32), 30);
  assertEquals(await admitted("session=bob", 3), 1);
  assertEquals(await admitted("session=nobody", 3), 1);
});
