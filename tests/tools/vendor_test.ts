import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { deadPort } from "../support/dead_port.ts";

const TOOLS = new URL("../../tools/", import.meta.url);

Deno.test("vendor.ts ends with one line and exit code 1 when nobody answers", async () => {
  await using folder = await copyOfTools();
  const nobody = `http://127.0.0.1:${deadPort()}/`;

  const run = await deno(folder.path, ["tools/vendor.ts"], { JSR_URL: nobody, NPM_CONFIG_REGISTRY: nobody });

  assertEquals(run.code, 1);
  assertMatch(
    run.stderr,
    /^vendor: the JSR registry that JSR_URL names is needed, but does not answer \(.+\)\n$/,
  );
});

Deno.test("vendor.ts is silent and does nothing where JSR answers", async () => {
  await using folder = await copyOfTools();
  await using jsr = serve({ "/@std/log/meta.json": JSON.stringify({ versions: { "0.224.14": {} } }) });

  const run = await deno(folder.path, ["tools/vendor.ts"], { JSR_URL: jsr.url });

  assertEquals(run, { code: 0, stdout: "", stderr: "" });
});

Deno.test("vendor.ts does not take any answer for that of JSR", async () => {
  await using folder = await copyOfTools();
  await using portal = serve({ "/@std/log/meta.json": "<h1>Please log in</h1>" });

  const run = await deno(folder.path, ["tools/vendor.ts"], { JSR_URL: portal.url });

  assertEquals(run.code, 1);
});

const FETCH = `
import { fetchTarball } from "./tools/vendor/registries.ts";
const [name, version, sha512] = Deno.args;
console.log(new TextDecoder().decode(await fetchTarball({ name, version, sha512 })));
`;

Deno.test("fetchTarball() fetches from the npm registry that is configured", async () => {
  await using folder = await copyOfTools();
  await using npm = serve({ "/mirror/thing/-/thing-1.2.3.tgz": "tarball" });
  await Deno.writeTextFile(`${folder.path}/fetch.ts`, FETCH);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", new TextEncoder().encode("tarball")));

  const run = await deno(folder.path, ["fetch.ts", "thing", "1.2.3", digest.toBase64()], {
    NPM_CONFIG_REGISTRY: `${npm.url}mirror/`,
  });

  assertEquals(run, { code: 0, stdout: "tarball\n", stderr: "" });
});

Deno.test("fetchTarball() refuses content other than what was pinned", async () => {
  await using folder = await copyOfTools();
  await using npm = serve({ "/thing/-/thing-1.2.3.tgz": "tampered with" });
  await Deno.writeTextFile(`${folder.path}/fetch.ts`, FETCH);

  const run = await deno(folder.path, ["fetch.ts", "thing", "1.2.3", "AAAA"], {
    NPM_CONFIG_REGISTRY: npm.url,
  });

  assertEquals(run.code, 1);
  assertStringIncludes(run.stderr, "thing@1.2.3 is not what it was");
});

/** The tool works on the folder next to its own, so each test gets a tool of its own. */
async function copyOfTools(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "lbproxy-tools-" });
  await copy(TOOLS, `${path}/tools`);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

async function copy(from: URL, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copy(new URL(`${name}/`, from), `${to}/${name}`);
    else await Deno.copyFile(new URL(name, from), `${to}/${name}`);
  }
}

function serve(answers: Record<string, string>): { url: string } & AsyncDisposable {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const answer = answers[new URL(request.url).pathname];
    return new Response(answer ?? "not found", { status: answer === undefined ? 404 : 200 });
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function deno(cwd: string, args: string[], env: Record<string, string>) {
  // An empty PATH: npm is not asked, whether it is there or not.
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", ...args],
    cwd,
    env: { ...env, PATH: "", NO_COLOR: "1" },
  }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}
