/** No example goes without a test that starts it. */

import { assertEquals, assertMatch } from "@std/assert";
import { EXAMPLES } from "../../support/start_example.ts";

/** Names of the examples. */
function exampleNames(): string[] {
  return Array.from(Deno.readDirSync(EXAMPLES), ({ name }) => name)
    .filter((name) => name.endsWith(".config.ts"))
    .map((name) => name.slice(0, -".config.ts".length))
    .sort();
}

Deno.test("examples/ has a test of the same name for each configuration, which starts it", async () => {
  const untested: string[] = [];
  for (const name of exampleNames()) {
    const test = new URL(`${name}_test.ts`, import.meta.url);
    const text = await Deno.readTextFile(test).catch(() => "");
    if (!text.includes(`startExample("${name}"`)) untested.push(name);
  }
  assertEquals(untested, []);
});

Deno.test("examples/ says of each configuration, in its first lines, what it shows and how to run it", async () => {
  for (const name of exampleNames()) {
    const text = await Deno.readTextFile(new URL(`${name}.config.ts`, EXAMPLES));
    assertMatch(text, /^\/\/ \S.*\n(?:\/\/.*\n)*\/\/ {3}deno \S/, name);
  }
});

Deno.test("examples/README.md names every example, and links nothing that is not there", async () => {
  const text = await Deno.readTextFile(new URL("README.md", EXAMPLES));
  for (const name of exampleNames()) assertMatch(text, new RegExp(`^\\| \\[${name}\\]`, "m"), name);
  for (const [, link] of text.matchAll(/\]\(([^)#]+)/g)) await Deno.stat(new URL(link!, EXAMPLES));
});
