import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/dry_run refuses nobody, and says whom it would have", async () => {
  await using example = await startExample("dry_run");
  for (let n = 0; n < 3; n++) assertEquals((await example.ask(`GET /${n}`)).status, 200);
  await example.program.stdoutMatch(/planned would have refused 127\.0\.0\.1 \/2\n/);
  const { stdout } = await example.stop();
  assertEquals(stdout.match(/would have refused/g)?.length, 1);
});
