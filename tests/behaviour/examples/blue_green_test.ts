import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/blue_green moves requests from one server to the other by weight", async () => {
  await using example = await startExample("blue_green");
  const greens = async (of: number) => {
    let count = 0;
    for (let n = 0; n < of; n++) if ((await example.ask("GET /")).field("x-upstream") === "green") count++;
    return count;
  };
  const move = async (percent: string) =>
    (await example.ask(`POST /-/green?percent=${percent}`, ["Content-Length: 0"])).status;
  assertEquals(await greens(10), 0);
  assertEquals(await move("30"), 200);
  assertEquals(await greens(10), 3);
  assertEquals(await move("100"), 200);
  assertEquals(await greens(10), 10);
  assertEquals(await move("0"), 200);
  assertEquals(await greens(10), 0);
  assertEquals(await move("much"), 400);
});
