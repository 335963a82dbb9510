import { assert, assertEquals, assertFalse, assertRejects } from "@std/assert";
import { ensureVendor, type Network, type Places } from "../../tools/vendor/fill.ts";
import type { Recipe, Tarball } from "../../tools/vendor/recipes.ts";
import type { VersionMeta } from "../../tools/vendor/write_package.ts";
import { tarOf } from "./tar_of.ts";

const TARBALL: Tarball = { name: "things", version: "9.9.9", sha512: "" };
const RECIPES: Recipe[] = ["one", "two"].map((name) => ({
  name,
  version: "1.2.3",
  tarball: TARBALL,
  modules: /^package\//,
  exports: { ".": `./${name}/mod.js` },
}));
const META = "jsr.test/@std/one/1.2.3_meta.json";

Deno.test("ensureVendor() lays the packages out as Deno does", async () => {
  await using folder = await makePlaces();
  const network = fakeNetwork({ jsr: "down" });

  assertEquals(await ensureVendor(folder, RECIPES, network), "filled");

  const read = (path: string) => Deno.readTextFile(new URL(`jsr.test/@std/${path}`, folder.vendor));
  assertEquals(JSON.parse(await read("one/meta.json")), {
    scope: "std",
    name: "one",
    latest: "1.2.3",
    versions: { "1.2.3": {} },
  });
  const meta: VersionMeta = JSON.parse(await read("one/1.2.3_meta.json"));
  assertEquals(meta.exports, { ".": "./one/mod.js" });
  assertEquals(Object.keys(meta.manifest).sort(), ["/one/mod.d.ts", "/one/mod.js"]);
  const code = new TextEncoder().encode(await read("one/1.2.3/one/mod.js"));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", code)).toHex();
  assertEquals(meta.manifest["/one/mod.js"], { size: code.length, checksum: `sha256-${digest}` });
  assertEquals(await read("one/1.2.3/one/mod.d.ts"), "export declare const one: 1;\n");
  assertEquals(await read("two/1.2.3/two/mod.js"), "export const two = 2;\n");
  assertEquals(network.calls, ["findJsr", "jsrProblem", "fetchTarball"], "one tarball serves both");
});

Deno.test("ensureVendor() asks nobody when the folder is up to date", async () => {
  await using folder = await makePlaces();
  await ensureVendor(folder, RECIPES, fakeNetwork({ jsr: "down" }));
  const network = fakeNetwork({ jsr: "down" });

  assertEquals(await ensureVendor(folder, RECIPES, network), "up to date");

  assertEquals(network.calls, []);
});

Deno.test("ensureVendor() asks nobody when Deno has filled the folder", async () => {
  await using folder = await makePlaces();
  for (const { name } of RECIPES) {
    await write(new URL(`jsr.test/@std/${name}/1.2.3_meta.json`, folder.vendor), "{}");
  }
  const network = fakeNetwork({ jsr: "down" });

  assertEquals(await ensureVendor(folder, RECIPES, network), "up to date");

  assertEquals(network.calls, []);
});

Deno.test("ensureVendor() leaves the folder to Deno where JSR answers", async () => {
  await using folder = await makePlaces();

  assertEquals(await ensureVendor(folder, RECIPES, fakeNetwork({ jsr: "up" })), "left to Deno");

  assertFalse(await exists(new URL("jsr.test/", folder.vendor)));
});

Deno.test("ensureVendor() fills again when our declarations or the tool have changed", async () => {
  await using folder = await makePlaces();
  await ensureVendor(folder, RECIPES, fakeNetwork({ jsr: "down" }));
  await write(new URL("types/one/mod.d.ts", folder.tools), "export declare const one: number;\n");

  assertEquals(await ensureVendor(folder, RECIPES, fakeNetwork({ jsr: "down" })), "filled");

  const types = await Deno.readTextFile(new URL("jsr.test/@std/one/1.2.3/one/mod.d.ts", folder.vendor));
  assertEquals(types, "export declare const one: number;\n");
});

Deno.test("ensureVendor() takes outdated copies away where JSR answers", async () => {
  await using folder = await makePlaces();
  await ensureVendor(folder, RECIPES, fakeNetwork({ jsr: "down" }));
  await write(new URL("types/one/mod.d.ts", folder.tools), "export declare const one: number;\n");

  assertEquals(await ensureVendor(folder, RECIPES, fakeNetwork({ jsr: "up" })), "left to Deno");

  assertFalse(await exists(new URL(META, folder.vendor)));
});

Deno.test("ensureVendor() says why when nobody answers, and tries again next time", async () => {
  await using folder = await makePlaces();

  await assertRejects(
    () => ensureVendor(folder, RECIPES, fakeNetwork({ jsr: "down", npm: "down" })),
    Error,
    "neither JSR nor an npm registry gives the @std packages (JSR: no JSR here; npm: no npm here)",
  );

  assertFalse(await exists(new URL(META, folder.vendor)));
  assertEquals(await ensureVendor(folder, RECIPES, fakeNetwork({ jsr: "down" })), "filled");
});

Deno.test("ensureVendor() makes good what a killed run has left", async () => {
  await using folder = await makePlaces();
  await ensureVendor(folder, RECIPES, fakeNetwork({ jsr: "down" }));
  const file = new URL("jsr.test/@std/two/1.2.3/two/mod.js", folder.vendor);
  const failing = fakeNetwork({ jsr: "down" });
  // Killed while the second of the two packages was put in place, after a change of the first one's types.
  await write(new URL("types/one/mod.d.ts", folder.tools), "export declare const one: number;\n");
  const unwritable = RECIPES.map((recipe) =>
    recipe.name === "one" ? recipe : { ...recipe, exports: { ".": "./gone.js" } }
  );
  await assertRejects(() => ensureVendor(folder, unwritable, failing), Error, "lacks gone.js");
  await write(new URL(".fresh/two/meta.json", folder.vendor), "half of");
  await write(file, "half of");

  assertEquals(await ensureVendor(folder, RECIPES, fakeNetwork({ jsr: "down" })), "filled");

  assertEquals(await Deno.readTextFile(file), "export const two = 2;\n");
  assertFalse(await exists(new URL(".fresh/", folder.vendor)));
});

Deno.test("ensureVendor() does the work once when two runs start together", async () => {
  await using folder = await makePlaces();
  const networks = [fakeNetwork({ jsr: "down" }), fakeNetwork({ jsr: "down" })];

  const outcomes = await Promise.all(networks.map((network) => ensureVendor(folder, RECIPES, network)));

  assertEquals(outcomes.sort(), ["filled", "up to date"]);
  assert(await exists(new URL(META, folder.vendor)));
});

Deno.test("ensureVendor() does not pass copies off as a registry of one's own", async () => {
  await using folder = await makePlaces();
  const network = {
    ...fakeNetwork({ jsr: "down" }),
    findJsr: () => Promise.resolve(new URL("http://127.0.0.1:1/")),
  };

  await assertRejects(
    () => ensureVendor(folder, RECIPES, network),
    Error,
    "the JSR registry that JSR_URL names is needed, but does not answer (no JSR here)",
  );
});

async function makePlaces(): Promise<Places & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "lbproxy fill " });
  const root = new URL(`file://${path}/`);
  const places = { vendor: new URL("vendor/", root), tools: new URL("tools/", root) };
  await write(new URL("vendor/fill.ts", places.tools), "");
  await write(new URL("types/one/mod.d.ts", places.tools), "export declare const one: 1;\n");
  return { ...places, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

function fakeNetwork(state: { jsr: "up" | "down"; npm?: "down" }): Network & { calls: string[] } {
  const calls: string[] = [];
  return {
    calls,
    findJsr: () => {
      calls.push("findJsr");
      return Promise.resolve(new URL("https://jsr.test/"));
    },
    jsrProblem: () => {
      calls.push("jsrProblem");
      return Promise.resolve(state.jsr === "up" ? undefined : "no JSR here");
    },
    fetchTarball: async () => {
      calls.push("fetchTarball");
      if (state.npm === "down") throw new Error("no npm here");
      const tar = tarOf([
        { path: "package/one/mod.js", body: "export const one = 1;\n" },
        { path: "package/two/mod.js", body: "export const two = 2;\n" },
      ]);
      const tgz = new Blob([tar]).stream().pipeThrough(new CompressionStream("gzip"));
      return new Uint8Array(await new Response(tgz).arrayBuffer());
    },
  };
}

async function write(file: URL, text: string): Promise<void> {
  await Deno.mkdir(new URL("./", file), { recursive: true });
  await Deno.writeTextFile(file, text);
}

async function exists(path: URL): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
