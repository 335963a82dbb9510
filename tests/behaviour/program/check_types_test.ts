/** `lbproxy --check --types`. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { ProgramFolder } from "../../support/program.ts";

const IMPORT = `import { defineConfig } from "${import.meta.resolve("../../../mod.ts")}";`;
const FILES = {
  "good.ts": `${IMPORT} export default defineConfig({ upstreams: ["127.0.0.1:80"] });`,
  "bad.ts": `${IMPORT} export default defineConfig({
    upstreams: ["127.0.0.1:80"],
    responseFilter: (response) => void (response.statis = 200),
  });`,
};

async function run(args: readonly string[], permissions: readonly string[] = ["-A"]) {
  await using folder = await ProgramFolder.with(FILES);
  await using program = folder.start([...args], [...permissions]);
  const { code, stdout, stderr } = await program.ended;
  return { code, stdout, stderr };
}

Deno.test("lbproxy --check --types says where the types of a configuration are wrong", async () => {
  const good = await run(["good.ts", "--check", "--types"]);
  assertEquals([good.code, good.stderr], [0, ""]);
  assertStringIncludes(good.stdout, "No problems in good.ts");
  const bad = await run(["bad.ts", "--check", "--types"]);
  assertEquals([bad.code, bad.stdout], [2, ""]);
  assertStringIncludes(bad.stderr, "The types of bad.ts are wrong:");
  assertStringIncludes(bad.stderr, "Property 'statis' does not exist");
  assertStringIncludes(bad.stderr, "bad.ts:3:");
  assertEquals((await run(["bad.ts", "--check"])).code, 0);
});

Deno.test("lbproxy --types says what it wants", async () => {
  const alone = await run(["good.ts", "--types"]);
  assertEquals([alone.code, alone.stderr], [2, "--types goes with --check\n"]);
  const forbidden = await run(["good.ts", "--check", "--types"], ["--allow-net", "--allow-read"]);
  assertEquals([forbidden.code, forbidden.stderr], [2, "--types starts deno check: run with --allow-run\n"]);
});
