/** The access log of the program, in a file and nowhere. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ProgramFolder, type RunningProgram } from "../../support/program.ts";
import { askAt } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const FILES = ["--allow-net", "--allow-read", "--allow-write"];

function configOf(upstream: string, accessLog: unknown): Record<string, string> {
  return {
    "proxy.config.ts": `
      export const listen = "127.0.0.1:0";
      export const upstreams = ${JSON.stringify([upstream])};
      export const accessLog = ${JSON.stringify(accessLog)};
    `,
  };
}

async function portOf(program: RunningProgram): Promise<number> {
  return Number((await program.address()).split(":").at(-1));
}

async function stopped(program: RunningProgram): Promise<string> {
  program.kill("SIGTERM");
  return (await program.ended).stdout;
}

Deno.test("lbproxy logs to a file and not to stdout, and opens it anew at SIGUSR2", async () => {
  await using upstream = startUpstream();
  await using folder = await ProgramFolder.with(
    configOf(upstream.address, { format: "combined", to: { file: "access.log" } }),
  );
  const path = `${folder.path}/access.log`;
  await using program = folder.start([], FILES);
  const port = await portOf(program);
  await askAt(port, "GET /one");
  await Deno.rename(path, `${path}.1`);
  using watch = Deno.watchFs(folder.path);
  program.kill("SIGUSR2");
  for await (const { kind, paths } of watch) {
    if (kind === "create" && paths.some((each) => each.endsWith("/access.log"))) break;
  }
  await askAt(port, "GET /two");
  assertEquals(await stopped(program), "");
  assertMatch(
    await Deno.readTextFile(`${path}.1`),
    /^127\.0\.0\.1 - - \[.*\] "GET \/one HTTP\/1\.1" 200 8 "-" "-"\n$/,
  );
  assertMatch(
    await Deno.readTextFile(path),
    /^127\.0\.0\.1 - - \[.*\] "GET \/two HTTP\/1\.1" 200 8 "-" "-"\n$/,
  );
});

Deno.test("lbproxy with accessLog: false logs no request, and by default each on stdout", async () => {
  await using upstream = startUpstream();
  for (
    const [accessLog, pattern] of [[false, /^$/], [undefined, /^\S+ access GET "\/" 200 .*\n$/]] as const
  ) {
    await using folder = await ProgramFolder.with(configOf(upstream.address, accessLog));
    await using program = folder.start([]);
    await askAt(await portOf(program));
    assertMatch(await stopped(program), pattern);
  }
});

Deno.test("lbproxy says why it cannot open the file of its access log, and does not start", async () => {
  await using upstream = startUpstream();
  await using folder = await ProgramFolder.with(
    configOf(upstream.address, { to: { file: "/nowhere/at/all.log" } }),
  );
  const { code, stderr } = await folder.run([], FILES);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "Cannot log requests to /nowhere/at/all.log: No such file or directory");
});
