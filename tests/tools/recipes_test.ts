import * as stdAssert from "@std/assert";
import { assert, assertEquals } from "@std/assert";
import * as parseArgs from "@std/cli/parse-args";
import * as cookie from "@std/http/cookie";
import * as negotiation from "@std/http/negotiation";
import * as serverSentEventStream from "@std/http/server-sent-event-stream";
import * as status from "@std/http/status";
import { RECIPES } from "../../tools/vendor/recipes.ts";

const ROOT = new URL("../../", import.meta.url);

Deno.test("RECIPES are for the very versions that deno.json asks for", async () => {
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));

  const asked = Object.values<string>(imports).filter((specifier) => specifier.startsWith("jsr:"));

  assertEquals(RECIPES.map(({ name, version }) => `jsr:@std/${name}@${version}`).sort(), asked.sort());
});

Deno.test("RECIPES cover every @std module that the code imports", async () => {
  const exported = new Set(
    RECIPES.flatMap(({ name, exports }) =>
      Object.keys(exports).map((path) => `@std/${name}${path.slice(1)}`)
    ),
  );

  for (const file of await sourceFiles(ROOT)) {
    const code = await Deno.readTextFile(file);
    for (
      const [, specifier = ""] of code.matchAll(/^(?:import|export|\} from)\b.*["'](@std\/[^"']+)["']/gm)
    ) {
      assert(
        exported.has(specifier),
        `${file} imports ${specifier}, which tools/vendor/recipes.ts leaves out`,
      );
    }
  }
});

const DESCRIBED: Record<string, object> = {
  "assert/mod.d.ts": stdAssert,
  "cli/parse_args.d.ts": parseArgs,
  "http/cookie.d.ts": cookie,
  "http/negotiation.d.ts": negotiation,
  "http/server_sent_event_stream.d.ts": serverSentEventStream,
  "http/status.d.ts": status,
};

for (const [path, module] of Object.entries(DESCRIBED)) {
  Deno.test(`tools/types/${path} declares only what the module exports`, async () => {
    const text = await Deno.readTextFile(new URL(`tools/types/${path}`, ROOT));

    const declared = [...text.matchAll(/^export declare (?:function|class|const) (\w+)/gm)].map((match) =>
      match[1]
    );

    assertEquals([...new Set(declared)].sort(), Object.keys(module).sort());
  });
}

/** Every module of the project, tools and benchmarks included. */
async function sourceFiles(folder: URL): Promise<URL[]> {
  const entries = await Array.fromAsync(Deno.readDir(folder));
  const folders = entries.filter(({ name, isDirectory }) =>
    isDirectory && !/^(\.|vendor$|node_modules$)/.test(name)
  );
  const nested = await Promise.all(folders.map(({ name }) => sourceFiles(new URL(`${name}/`, folder))));
  const modules = entries.filter(({ name }) => name.endsWith(".ts")).map(({ name }) => new URL(name, folder));
  return [...modules, ...nested.flat()];
}
