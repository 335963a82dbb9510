import { assertEquals } from "@std/assert";
import { RunningProgram } from "../../support/program.ts";
import { EXAMPLES } from "../../support/start_example.ts";
import { askAt } from "../../support/start_proxy.ts";

const CONFIG = new URL("../../../deno.json", import.meta.url);

Deno.test("examples/embedded is a program with the proxy and a limited page of its own", async () => {
  const { pathname } = new URL("embedded.ts", EXAMPLES);
  const command = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      `--config=${CONFIG.pathname}`,
      "--allow-net",
      "--allow-read",
      pathname,
      "0",
      "0",
    ],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  await using program = new RunningProgram(command.spawn());
  const [, proxy, own] = await program.stdoutMatch(/proxy 127\.0\.0\.1:(\d+), own page 127\.0\.0\.1:(\d+)\n/);
  const names: (string | undefined)[] = [];
  for (let n = 0; n < 4; n++) names.push((await askAt(Number(proxy), "GET /")).field("x-upstream"));
  assertEquals(names, ["one", "two", "one", "two"]);
  const shown = JSON.parse((await askAt(Number(own), "GET /")).text);
  assertEquals(shown.map(({ requests }: { requests: number }) => requests), [2, 2]);
  const statuses: number[] = [];
  for (let n = 0; n < 10; n++) statuses.push((await askAt(Number(own), "GET /")).status);
  assertEquals(statuses, [...Array(9).fill(200), 429]);
  program.kill("SIGTERM");
  assertEquals((await program.ended).code, 0);
});
