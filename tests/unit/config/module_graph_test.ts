import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { pathToFileURL } from "node:url";
import { loadConfig } from "../../../lib/config/load_config.ts";
import { ConfigError } from "../../../lib/config/config_error.ts";
import { ModuleGraph } from "../../../lib/config/module_graph.ts";

async function folderWith(
  files: Readonly<Record<string, string>>,
): Promise<AsyncDisposable & { path: string; write(name: string, text: string): Promise<void> }> {
  const path = await Deno.makeTempDir();
  const write = (name: string, text: string): Promise<void> => Deno.writeTextFile(`${path}/${name}`, text);
  for (const [name, text] of Object.entries(files)) await write(name, text);
  return { path, write, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test("ModuleGraph.load() loads a module and what it imports anew, at the same place", async () => {
  await using folder = await folderWith({
    "a.ts": `
      import { b } from "./b.ts";
      import data from "./c.json" with { type: "json" };
      export const seen: unknown[] = [b, data.c];
      export const later = async () => (await import("./d.ts")).d;
      export const { dirname, filename } = import.meta;`,
    "b.ts": `export { b } from "./e.ts";`,
    "c.json": `{ "c": 1 }`,
    "d.ts": `export const d = 1;`,
    "e.ts": `export const b = 1;`,
  });
  using graph = new ModuleGraph();
  const url = pathToFileURL(`${folder.path}/a.ts`).href;
  const first = await graph.load(url);
  assertEquals(first.module.seen, [1, 1]);
  assertEquals(
    first.sources.files.map((file) => file.slice(folder.path.length)),
    ["/a.ts", "/b.ts", "/c.json", "/e.ts"],
  );
  const same = await graph.load(url);
  assertEquals(same.module === first.module, false);
  assertEquals(same.sources, first.sources);
  for (const name of ["c.json", "d.ts", "e.ts"]) {
    await folder.write(name, (await Deno.readTextFile(`${folder.path}/${name}`)).replace("1", "2"));
  }
  const second = await graph.load(url);
  assertEquals(second.module.seen, [2, 2]);
  assertEquals([await (second.module.later as () => Promise<number>)()], [2]);
  assertEquals([second.module.dirname, second.module.filename], [folder.path, `${folder.path}/a.ts`]);
  assertMatch(second.sources.hash, /^[0-9a-f]{64}$/);
  assertEquals(second.sources.hash === first.sources.hash, false);
});

Deno.test("ModuleGraph.load() leaves modules of this package and packages as they are, and names those of other machines", async () => {
  const own = new URL("../../../mod.ts", import.meta.url).href;
  await using folder = await folderWith({
    "a.ts": `
      export { Pool } from ${JSON.stringify(own)};
      export { assert } from "jsr:@std/assert@1";
      import * as remote from "https://127.0.0.1:1/x.ts";
      export { remote };`,
    "b.ts": `export { Pool } from ${JSON.stringify(own)};`,
  });
  using graph = new ModuleGraph();
  await assertRejects(() => graph.load(pathToFileURL(`${folder.path}/a.ts`).href));
  const { Pool } = (await graph.load(pathToFileURL(`${folder.path}/b.ts`).href)).module;
  assertEquals(Pool, (await import("../../../mod.ts")).Pool);
  const inline = await graph.load("data:text/javascript,export const a = 1");
  assertEquals(inline.sources.remote, ["data:text/javascript,export const a = 1"]);
});

Deno.test("loadConfig() by a graph tells of mistakes by the names of files, and loads the module again once they are mended", async () => {
  await using folder = await folderWith({
    "proxy.config.ts": `import "./more.ts"; export const upstreams = ["a:80"];`,
    "more.ts": `export {};`,
  });
  using graph = new ModuleGraph();
  const source = `${folder.path}/proxy.config.ts`;
  await loadConfig(source, graph);
  await folder.write("more.ts", "export const a = ;");
  const files = new Set<string>();
  const error = await assertRejects(() => loadConfig(source, graph, files), ConfigError);
  assertEquals(
    error.message.replaceAll(folder.path, "FOLDER"),
    "Cannot load FOLDER/proxy.config.ts: syntax error: Expression expected (file://FOLDER/more.ts:1:18)",
  );
  assertEquals([...files].length > 0, true);
  await folder.write("more.ts", "export const a = 1;");
  assertEquals((await loadConfig(source, graph)).sources?.files.length, 2);
});

// Last, because the runtime waits for modules to load once it was told how to.
Deno.test(
  "ModuleGraph.load() loads the same again where it is told what files held",
  { sanitizeOps: false },
  async () => {
    await using folder = await folderWith({
      "a.ts": `import { b } from "./b.ts"; import data from "./c.json" with { type: "json" };
      export const seen: unknown[] = [b, data.c]; export const later = async () => (await import("./d.ts")).d;`,
      "b.ts": `export const b: number = 1;`,
      "c.json": `{ "c": 1 }`,
      "d.ts": `export const d = 1;`,
    });
    const url = pathToFileURL(`${folder.path}/a.ts`).href;
    using one = new ModuleGraph();
    const { sources: { texts } } = await one.load(url);
    assertEquals(Object.keys(texts), ["a.ts", "b.ts", "c.json"].map((name) => `${folder.path}/${name}`));
    await folder.write("a.ts", "syntax error");
    await folder.write("c.json", "");
    await Deno.remove(`${folder.path}/b.ts`);
    using other = new ModuleGraph();
    const loaded = await other.load(url, new Set(), texts);
    assertEquals(loaded.module.seen, [1, 1]);
    assertEquals(await (loaded.module.later as () => Promise<number>)(), 1);
    await assertRejects(() => other.load(url));
    assertEquals((await other.load(url, new Set(), texts)).module.seen, [1, 1]);
  },
);
