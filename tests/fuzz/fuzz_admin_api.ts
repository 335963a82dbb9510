/**
 * Runs schemathesis on the admin listener of a proxy: whatever the OpenAPI description allows is asked for, and what it does not
 * allow as well. Arguments are passed on to `schemathesis run`.
 *
 * The program comes from PyPI into a folder for temporary files, never into the repository.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program, its messages are its output
import { serve } from "../../lib/server/serve.ts";
import { TOKEN } from "../support/admin_client.ts";
import { startUpstream } from "../support/start_upstream.ts";

const VERSION = "4.32.5";
const CHECKS = [
  "not_a_server_error",
  "status_code_conformance",
  "content_type_conformance",
  "response_headers_conformance",
  "response_schema_conformance",
  "negative_data_rejection",
  "unsupported_method",
  "ignored_auth",
];

async function schemathesis(): Promise<string> {
  const folder = `${Deno.env.get("TMPDIR") ?? "/tmp"}/lbproxy-schemathesis-${VERSION}`;
  const program = `${folder}/bin/schemathesis`;
  const isThere = await Deno.stat(program).then(() => true, () => false);
  if (!isThere) {
    await run("python3", ["-m", "venv", folder]);
    await run(`${folder}/bin/pip`, ["install", "--quiet", `schemathesis==${VERSION}`]);
  }
  return program;
}

async function run(program: string, args: string[]): Promise<number> {
  const { code } = await new Deno.Command(program, { args, stdout: "inherit", stderr: "inherit" }).output();
  return code;
}

if (import.meta.main) {
  const program = await schemathesis();
  await using upstream = startUpstream("one");
  await using proxy = await serve({
    listen: "127.0.0.1:0",
    upstreams: { default: [upstream.address, "127.0.0.1:9"] },
    limiter: { name: "app", key: "header:appid", limit: 10, window: "1m" },
    admin: { listen: "127.0.0.1:0", tokens: { fuzzer: TOKEN } },
  }, { log: "text" });
  // Names that are there, so that changes are made and not only refused.
  const config = await Deno.makeTempFile({ suffix: ".toml" });
  const names = { pool: "default", server: upstream.address, policy: "app" };
  const lines = Object.entries(names).map(([name, value]) => `"path.${name}" = ${JSON.stringify(value)}\n`);
  await Deno.writeTextFile(config, `[parameters]\n${lines.join("")}`);
  const args = [
    "run",
    `http://${proxy.adminAddress}/openapi.json`,
    ["-H", `Authorization: Bearer ${TOKEN}`],
    // A stream that does not end is nothing for it.
    ["--exclude-path", "/events"],
    ["--checks", CHECKS.join(",")],
    ["--workers", "2"],
    ["--seed", "1"],
    ...Deno.args,
  ].flat();
  const strange = await run(program, args);
  const known = await run(program, ["--config-file", config, ...args]);
  await Deno.remove(config);
  const code = Math.max(strange, known);
  console.error(code === 0 ? "The admin listener keeps to its description" : "See above");
  Deno.exitCode = code;
}
