import { assert, assertEquals } from "@std/assert";
import { crossTalk } from "./cross_talk.ts";
import { KINDS } from "./servers.ts";

Deno.test("nothing of a request reaches another, whatever clients and servers do", async () => {
  const { crossed, hung, counts } = await crossTalk(2, 1);
  assertEquals({ crossed, hung }, { crossed: [], hung: [] });
  // What never happened shows nothing.
  const seen = (kind: string) => Object.keys(counts).some((what) => what.startsWith(`${kind} `));
  assertEquals(KINDS.filter((kind) => !seen(kind)), []);
  for (const what of ["103", "pipelined batches", "uploads", "trailer fields", "clients that leave"]) {
    assert(counts[what]! > 0, what);
  }
});
