import { assertEquals } from "@std/assert";
import { RunningProgram } from "../../support/program.ts";
import { EXAMPLES } from "../../support/start_example.ts";
import { askAt } from "../../support/start_proxy.ts";

const CONFIG = new URL("../../../deno.json", import.meta.url);

Deno.test("examples/handler is a server with a page of its own and the proxy behind it", async () => {
  const { pathname } = new URL("handler.ts", EXAMPLES);
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
    ],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  await using program = new RunningProgram(command.spawn());
  const [, port] = await program.stdoutMatch(/listening at 127\.0\.0\.1:(\d+)\n/);
  const names: (string | undefined)[] = [];
  for (let n = 0; n < 4; n++) names.push((await askAt(Number(port), "GET /")).field("x-upstream"));
  assertEquals(names, ["one", "two", "one", "two"]);
  const shown = JSON.parse((await askAt(Number(port), "GET /servers")).text);
  assertEquals(
    shown.map(({ healthy, requests }: { healthy: boolean; requests: number }) => [healthy, requests]),
    [[true, 2], [true, 2]],
  );
  program.kill("SIGTERM");
  assertEquals((await program.ended).code, 0);
});
