import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/concurrency admits two requests at a time, and two again when they are over", async () => {
  await using example = await startExample("concurrency");
  for (let round = 0; round < 2; round++) {
    const answers = await Promise.all([1, 2, 3].map(() => example.ask("GET /slow")));
    assertEquals(answers.map(({ status }) => status).sort(), [200, 200, 429]);
  }
});
