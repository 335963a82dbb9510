import { assert, assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/consistent_hash sends a user to the same server again", async () => {
  await using example = await startExample("consistent_hash");
  const serverOf = async (user: number) =>
    (await example.ask("GET /", [`X-User: user${user}`])).field("x-upstream")!;
  const first: string[] = [];
  for (let user = 0; user < 40; user++) first.push(await serverOf(user));
  for (let user = 0; user < 40; user++) assertEquals(await serverOf(user), first[user]);
  assert(new Set(first).size >= 3, `${first}`);
});
