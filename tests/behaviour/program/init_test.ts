/** What `lbproxy --init` writes. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { writeStarter } from "../../../lib/cli/init.ts";
import { ProgramFolder } from "../../support/program.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { askAt } from "../../support/start_proxy.ts";

async function task(folder: string, name: string): Promise<{ code: number; output: string }> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["task", name],
    cwd: folder,
    env: { NO_COLOR: "1" },
    stdin: "null",
  });
  const { code, stdout, stderr } = await command.output();
  return { code, output: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

Deno.test("lbproxy --init writes a configuration that type-checks, passes its test and runs", async () => {
  await using folder = await ProgramFolder.with({});
  const init = await folder.run(["--init", "a proxy"], ["--allow-read", "--allow-write"]);
  assertEquals([init.code, init.stderr], [0, ""]);
  assertStringIncludes(init.stdout, "deno task test");
  const path = `${folder.path}/a proxy`;
  // Which checks the types of both modules first.
  const tested = await task(path, "test");
  assertEquals(tested.code, 0, tested.output);
  assertStringIncludes(tested.output, "2 passed");
  await using upstream = startUpstream("mine");
  const source = await Deno.readTextFile(`${path}/proxy.config.ts`);
  assertStringIncludes(source, '\n  // admin: "127.0.0.1:6189",\n');
  await Deno.writeTextFile(`${path}/proxy.config.ts`, source.replace("127.0.0.1:9001", upstream.address));
  await using program = folder.start(["a proxy/proxy.config.ts", "--listen", "127.0.0.1:0"]);
  const { text, field } = await askAt(Number((await program.address()).split(":")[1]));
  assertEquals([text, field("x-served-by")], ["mine", "lbproxy"]);
});

Deno.test("lbproxy --init writes over nothing", async () => {
  await using folder = await ProgramFolder.with({ "deno.json": "{}" });
  assertEquals(await folder.run(["--init"], ["--allow-read", "--allow-write"]), {
    code: 2,
    stdout: "",
    stderr: "--init overwrites no files, and . has deno.json\n",
  });
  assertEquals((await Array.fromAsync(Deno.readDir(folder.path))).map(({ name }) => name), ["deno.json"]);
});

Deno.test("writeStarter() imports a published package by its name", async () => {
  await using folder = await ProgramFolder.with({});
  await writeStarter(folder.path, new URL("https://jsr.io/@x/lbproxy/0.1.0/"));
  const { imports, tasks } = JSON.parse(await Deno.readTextFile(`${folder.path}/deno.json`));
  assertEquals(Object.keys(imports), ["@x/lbproxy", "@std/assert"]);
  assertStringIncludes(tasks.start, " jsr:@x/lbproxy@^");
});
