import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/canary gives few users the new version, always the same ones, and testers", async () => {
  await using example = await startExample("canary");
  const of = async (line: string) => (await example.ask("GET /", [line])).field("x-upstream");
  assertEquals(await of("X-Canary: 1"), "canary");
  const first = new Map<string, string | undefined>();
  for (let n = 0; n < 200; n++) first.set(`user=${n}`, await of(`Cookie: user=${n}`));
  const lucky = [...first].filter(([, name]) => name === "canary");
  // Which users that are depends on their names alone; of these two hundred about ten.
  assertEquals([lucky.length > 2, lucky.length < 25], [true, true]);
  for (const [cookie, name] of [...lucky, ...[...first].slice(0, 10)]) {
    assertEquals(await of(`Cookie: ${cookie}`), name);
  }
});
