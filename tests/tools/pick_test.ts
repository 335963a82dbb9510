import { assertEquals, assertThrows } from "@std/assert";
import { pickFiles } from "../../tools/vendor/pick.ts";
import type { Recipe } from "../../tools/vendor/recipes.ts";

const RECIPE: Recipe = {
  name: "thing",
  version: "1.2.3",
  tarball: { name: "things", version: "9.9.9", sha512: "" },
  modules: /^package\/esm\//,
  declarations: /^package\/types\//,
  exports: { ".": "./thing/mod.js" },
};

Deno.test("pickFiles() takes what the entry points reach and nothing else", () => {
  const picked = pickFiles(
    RECIPE,
    archive({
      "package/esm/thing/mod.js": 'export * from "./a.js";\nexport {\n  b,\n} from "../other/b.js";\n',
      "package/esm/thing/a.js": '/**\n * import { c } from "./c.js";\n */\nimport "./side_effect.js";\n',
      "package/esm/thing/side_effect.js": 'import { a } from "./a.js";\n',
      "package/esm/thing/c.js": "",
      "package/esm/other/b.js": "export const b = 1;\n",
      "package/package.json": "{}",
    }),
    new Map(),
  );

  assertEquals([...picked.keys()].sort(), [
    "other/b.js",
    "thing/a.js",
    "thing/mod.js",
    "thing/side_effect.js",
  ]);
});

Deno.test("pickFiles() puts our declarations before those of the tarball, and these before none", () => {
  const picked = pickFiles(
    RECIPE,
    archive({
      "package/esm/thing/mod.js": 'import "./a.js";\nimport "./b.js";\n',
      "package/esm/thing/a.js": "a();\n",
      "package/esm/thing/b.js": "b();\n",
      "package/types/thing/mod.d.ts": "theirs",
      "package/types/thing/a.d.ts": "theirs",
    }),
    new Map([["thing/mod.d.ts", "ours"], ["thing/unused.d.ts", "ours"]]),
  );

  assertEquals(Object.fromEntries(picked), {
    "thing/mod.js": '/* @ts-self-types="./mod.d.ts" */\nimport "./a.js";\nimport "./b.js";\n',
    "thing/mod.d.ts": "ours",
    "thing/a.js": '/* @ts-self-types="./a.d.ts" */\na();\n',
    "thing/a.d.ts": "theirs",
    "thing/b.js": "b();\n",
  });
});

Deno.test("pickFiles() uses the globals in place of the shims for Node", () => {
  const picked = pickFiles(
    RECIPE,
    archive({
      "package/esm/thing/mod.js":
        'import * as dntShim from "../../_dnt.shims.js";\ndntShim.Deno.stat(1);\nconst { Deno } = dntShim.dntGlobalThis;\n',
    }),
    new Map(),
  );

  assertEquals(picked.get("thing/mod.js"), "Deno.stat(1);\nconst { Deno } = globalThis;\n");
});

Deno.test("pickFiles() names what a tarball lacks", () => {
  assertThrows(
    () => pickFiles(RECIPE, archive({ "package/esm/thing/mod.js": 'import "./gone.js";\n' }), new Map()),
    Error,
    "things@9.9.9 lacks thing/gone.js for @std/thing",
  );
});

function archive(files: Record<string, string>): Map<string, Uint8Array> {
  return new Map(Object.entries(files).map(([path, text]) => [path, new TextEncoder().encode(text)]));
}
