/** The package as a user gets it: uploaded by `deno publish`, loaded by its `jsr:` name into an empty cache. */

import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { JsrRegistry, type Upload } from "./support/jsr_registry.ts";
import { startUpstream } from "./support/start_upstream.ts";

const ROOT = new URL("../", import.meta.url);

const CONFIG = `
import type { UpstreamRequest } from "jsr:@x/lbproxy";

export const listen = "127.0.0.1:0";
export const upstreams = [UPSTREAM];

export function upstreamRequestFilter(request: UpstreamRequest): void {
  request.headers.set("x-seen-by", "the configuration");
}

export function onListen(addresses: readonly string[]): void {
  console.log("listening at", addresses[0]);
}
`;

const PROGRAM = `
import { defineConfig, serve } from "jsr:@x/lbproxy";

const proxy = await serve(defineConfig({ listen: "127.0.0.1:0", upstreams: [UPSTREAM] }));
console.log("listening at", proxy.addresses[0]);
`;

const DASHBOARD = `
import { defineConfig, serve } from "jsr:@x/lbproxy";

const proxy = await serve(defineConfig({ listen: "127.0.0.1:0", upstreams: [UPSTREAM], admin: "127.0.0.1:0" }));
console.log("listening at", proxy.adminAddress);
`;

const MISTAKE = `
import { defineConfig } from "jsr:@x/lbproxy";

export default defineConfig({ listen: "127.0.0.1:0", upstreams: 1 });
`;

Deno.test("the published package", async (t) => {
  await using registry = new JsrRegistry();
  await using folder = await startFolder(registry);
  await using upstream = startUpstream("upstream");
  const write = (name: string, text: string) =>
    Deno.writeTextFile(`${folder.path}/${name}`, text.replace("UPSTREAM", JSON.stringify(upstream.address)));
  await write("proxy.config.ts", CONFIG);
  await write("program.ts", PROGRAM);
  await write("dashboard.ts", DASHBOARD);
  await write("mistake.config.ts", MISTAKE);

  await t.step("is uploaded by deno publish, without what only its development needs", async () => {
    await folder.succeed(["publish", "--token=none", "--allow-dirty", "--no-check", "--vendor=false"], ROOT);

    const upload = registry.uploads[0];
    assert(upload !== undefined);
    const isCode = (path: string) => /^lib\/(?:.+\.ts|admin\/page\/dashboard\.(?:css|html|js))$/.test(path);
    const rest = [...upload.files.keys()].filter((path) => !isCode(path));
    assertEquals(rest.sort(), ["CHANGELOG.md", "LICENSE", "README.md", "deno.json", "mod.ts"]);
    assertEquals(bareImports(upload), []);
  });

  for (const permissions of [["-A"], ["--allow-net", "--allow-read"]]) {
    await t.step(`runs as a program with ${permissions.join(" ")}`, async () => {
      await using proxy = await folder.listen([...permissions, "jsr:@x/lbproxy", "proxy.config.ts"]);

      const response = await fetch(`http://${proxy.address}/path`);

      assertEquals([response.status, await response.text()], [200, "upstream"]);
      assertEquals(upstream.seen.at(-1)?.headers.get("x-seen-by"), "the configuration");
    });
  }

  await t.step("is a library too", async () => {
    await using proxy = await folder.listen(["--allow-net", "program.ts"]);

    const response = await fetch(`http://${proxy.address}/path`);

    assertEquals([response.status, await response.text()], [200, "upstream"]);
  });

  await t.step("has its dashboard with it", async () => {
    await using admin = await folder.listen(["--allow-net", "dashboard.ts"]);

    for (const path of ["/", "/dashboard.css", "/dashboard.js", "/uplot.css", "/uplot.js"]) {
      const response = await fetch(`http://${admin.address}${path}`);
      assertEquals([path, response.status, (await response.text()).length > 500], [path, 200, true]);
    }
  });

  await t.step("has types", async () => {
    await folder.succeed(["check", "proxy.config.ts", "program.ts"]);

    const check = await folder.run(["check", "mistake.config.ts"]);
    assertNotEquals(check.code, 0);
    assertStringIncludes(check.output, "Type 'number' is not assignable to type 'Upstreams'");
  });
});

/** Imports that need the import map of this repository, which is not there at the user's. */
function bareImports({ files }: Upload): string[] {
  return [...files]
    // What `--init` writes is text with imports in it, which the map of its own `deno.json` resolves.
    .filter(([path]) => path.endsWith(".ts") && path !== "lib/cli/init.ts")
    .flatMap((
      [, bytes],
    ) => [...new TextDecoder().decode(bytes).matchAll(/^(?:import|export|\}).* from "([^".:][^":]*)"/gm)])
    .map((match) => match[1] ?? "");
}

interface Folder extends AsyncDisposable {
  path: string;
  run(args: string[], cwd?: URL): Promise<{ code: number; output: string }>;
  /** Like `run`, for what must not fail. */
  succeed(args: string[], cwd?: URL): Promise<void>;
  /** Starts a program that says at which address it listens; it is stopped when disposed of. */
  listen(args: string[]): Promise<{ address: string } & AsyncDisposable>;
}

/** A folder of a user who has Deno, an empty cache, and this registry. */
async function startFolder(registry: JsrRegistry): Promise<Folder> {
  const path = await Deno.makeTempDir({ prefix: "lbproxy-published-" });
  await Deno.mkdir(`${path}/.cache`);
  // Packages from npm come out of the cache of this very run: the test needs no network.
  await Deno.symlink(await npmCache(), `${path}/.cache/npm`);
  const env = { DENO_DIR: `${path}/.cache`, JSR_URL: registry.url, NO_COLOR: "1" };

  const run = async (args: string[], cwd: URL | string = path) => {
    const command = new Deno.Command(Deno.execPath(), { args, cwd, env });
    const { code, stdout, stderr } = await command.output();
    return { code, output: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
  };
  const succeed = async (args: string[], cwd?: URL) => {
    const { code, output } = await run(args, cwd);
    assertEquals(code, 0, output);
  };
  const listen = (args: string[]) => startProgram(["run", "--quiet", "--no-prompt", ...args], path, env);
  return { path, run, succeed, listen, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

async function npmCache(): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).npmCache;
}

/** Starts a program and waits until it says where it listens. */
async function startProgram(
  args: string[],
  cwd: string,
  env: Record<string, string>,
): Promise<{ address: string } & AsyncDisposable> {
  const command = new Deno.Command(Deno.execPath(), { args, cwd, env, stdout: "piped", stderr: "piped" });
  const child = command.spawn();
  const listening = Promise.withResolvers<string>();
  // Both are read to the end: a program whose output nobody takes stops at its next line.
  const stdout = collect(child.stdout, (text) => {
    const address = /listening at (\S+)\n/.exec(text)?.[1];
    if (address !== undefined) listening.resolve(address);
  });
  const ended = Promise.all([stdout, collect(child.stderr), child.status]).then(([out, err]) =>
    listening.reject(new Error(`The program ended before it listened:\n${out}${err}`))
  );
  const address = await listening.promise;
  return {
    address,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await ended;
    },
  };
}

/** Reads a stream of text to its end, and tells of all the text so far with each piece. */
async function collect(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  onText: (text: string) => void = () => {},
): Promise<string> {
  let text = "";
  for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
    text += piece;
    onText(text);
  }
  return text;
}
