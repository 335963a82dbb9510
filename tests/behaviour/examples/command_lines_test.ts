/** Every command line of README.md, docs/ and the examples means in bash, zsh and fish, typed as it stands there, what it says. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type RunningExample, startExample } from "../../support/start_example.ts";

const ROOT = new URL("../../../", import.meta.url);

/** What a shell made of the lines. */
interface ShellRun {
  readonly stdout: string;
  readonly stderr: string;
}

type Environment = Readonly<Record<string, string>>;

/**
 * The shells that people type into, with the options that they have when nobody has set any. In `zsh` a `#` begins no comment, and
 * a word with `?` has to name a file.
 */
const SHELLS = [["bash", "--norc", "-i"], ["zsh", "-i"], ["fish", "--no-config"]] as const;

/**
 * Runs lines in a shell that finds nobody's settings, in an empty folder.
 *
 * @throws {Error} when there is no such shell; `.ci/run` installs them
 */
async function typeInto(
  [shell, ...args]: readonly string[],
  lines: readonly string[],
  env: Environment = {},
): Promise<ShellRun> {
  const home = await Deno.makeTempDir();
  try {
    // Without the file zsh asks whether it is to make one.
    await Deno.writeTextFile(`${home}/.zshrc`, "");
    const command = new Deno.Command(shell!, {
      args: [...args],
      cwd: home,
      env: { HOME: home, ZDOTDIR: home, PS1: "", TERM: "dumb", ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    });
    const child = spawn(command, shell!);
    const output = child.output();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(`${lines.join("\n")}\n`));
    await writer.close();
    const { stdout, stderr } = await output;
    const decoder = new TextDecoder();
    return { stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

function spawn(command: Deno.Command, shell: string): Deno.ChildProcess {
  try {
    return command.spawn();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new Error(`There is no ${shell} on this machine: install it (Debian: apt-get install ${shell})`, {
      cause,
    });
  }
}

/** What the lines run, apart from what every machine has. */
const PROGRAMS = ["npx", "deno", "lbproxy", "curl", "openssl", "grpcurl"];

/** Writes down what it was called with; one file for each call, since some run at the same time. */
const STAND_IN = `#!/bin/sh
printf '%s\\n' "\${0##*/}" "$@" > "$CALLS/$$"
`;

/** The command lines of a document: those of its blocks of type sh. */
function linesOfDocument(text: string): string[] {
  return Array.from(
    text.matchAll(/^```(?:sh|bash|console)\n([^]*?)^```$/gm),
    ([, block]) => block!.trimEnd().split("\n"),
  ).flat();
}

/** The command lines of an example: those of its first comment that are indented; what has a prompt is for another program. */
function linesOfExample(text: string): string[] {
  const [comment] = /^(?:\/\/.*\n)*/.exec(text)!;
  return Array.from(comment.matchAll(/^\/\/ {3}(?!> )(.*)$/gm), ([, line]) => line!);
}

/** Every source of command lines, with those of it. */
async function collect(folders: readonly string[]): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const folder of folders) {
    for await (const { name } of Deno.readDir(new URL(folder, ROOT))) {
      if (!/\.(?:md|ts)$/.test(name)) continue;
      const text = await Deno.readTextFile(new URL(folder + name, ROOT));
      const lines = name.endsWith(".md") ? linesOfDocument(text) : linesOfExample(text);
      if (lines.length > 0) found.set(folder + name, lines);
    }
  }
  return found;
}

/** What the lines call, and with what, in a shell; sorted, since some of it runs at the same time. */
async function callsIn(shell: readonly string[], lines: readonly string[]): Promise<string[]> {
  const folder = await Deno.makeTempDir();
  try {
    const [programs, calls] = [`${folder}/bin`, `${folder}/calls`];
    await Promise.all([Deno.mkdir(programs), Deno.mkdir(calls)]);
    for (const name of PROGRAMS) await Deno.writeTextFile(`${programs}/${name}`, STAND_IN, { mode: 0o755 });
    const env = { CALLS: calls, PATH: `${programs}:/usr/bin:/bin` };
    const { stdout, stderr } = await typeInto(shell, [...lines, "wait", "echo the end"], env);
    assertStringIncludes(stdout, "the end", stderr);
    // An interactive bash complains of having no terminal; that is none of the lines.
    const complaints = stderr.replaceAll(/^bash: (?:cannot set terminal|no job control).*$/gm, "");
    for (const complaint of ["zsh:", "sh:", "fish:", "not found", "no matches"]) {
      assert(!complaints.includes(complaint), stderr);
    }
    const found: string[] = [];
    for await (const { name } of Deno.readDir(calls)) found.push(await Deno.readTextFile(`${calls}/${name}`));
    return found.sort();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const EVERYWHERE = ["", "docs/", "examples/"];

for (const shell of SHELLS) {
  Deno.test(`command lines of README.md, docs/ and the examples are what ${shell[0]} takes them for`, async () => {
    const sources = await collect(EVERYWHERE);
    const known = ["README.md", "docs/getting-started.md", "examples/README.md", "examples/embedded.ts"];
    for (const name of known) assert(sources.has(name), name);
    for (const [name, lines] of sources) {
      const typed = await callsIn(shell, lines);
      // A script in the plain shell is what whoever wrote the lines had in mind.
      assertEquals(typed, await callsIn(["sh"], lines), name);
      assert(typed.length > 0, name);
    }
  });
}

Deno.test("command lines of README.md, docs/ and the examples have their URLs in quotation marks", async () => {
  for (const [name, lines] of await collect(EVERYWHERE)) {
    for (const line of lines) {
      for (const [, before] of line.matchAll(/(.)https?:\/\//g)) {
        assert(/["' ]/.test(before!), `${name}: ${line}`);
      }
      assert(!/(?:^|\s)https?:\/\//.test(line.replaceAll(/"[^"]*"/g, '""')), `${name}: ${line}`);
    }
  }
});

/** The statuses that clients got by these lines. */
async function statusesOf(shell: readonly string[], lines: readonly string[]): Promise<string[]> {
  const { stderr } = await typeInto(shell, lines);
  return Array.from(stderr.matchAll(/^< HTTP\/1\.1 (\d+)/gm), ([, status]) => status!);
}

/** On the border of two windows both requests are admitted; then once more, as a client of another name. */
async function assertLimited(
  shell: readonly string[],
  lines: readonly string[],
  client: string,
): Promise<void> {
  let statuses: string[] = [];
  for (let tries = 0; tries < 5 && statuses.at(-1) !== "429"; tries++) {
    const field = `appid: ${shell[0]}${client}${tries}`;
    statuses = await statusesOf(shell, lines.map((line) => line.replace("appid: myclient", field)));
  }
  assertEquals(statuses, ["200", "200", "429"]);
}

/** The `curl` lines of a text, sent to a running example. */
function curlLines(text: string, { address }: RunningExample): string[] {
  return text.split("\n").map((line) => line.trim()).filter((line) => line.startsWith("curl "))
    .map((line) => line.replace("127.0.0.1:6188", address));
}

Deno.test("the first commands of README.md and those that the quick start prints do in every shell what they promise", async () => {
  await using example = await startExample("quickstart");
  const [banner] = await example.program.stdoutMatch(/lbproxy listens on[^]*Ctrl-C stops it\./);
  const readme = linesOfDocument(await Deno.readTextFile(new URL("README.md", ROOT))).join("\n");
  for (const shell of SHELLS) {
    await assertLimited(shell, curlLines(banner, example), "banner");
    await assertLimited(shell, curlLines(readme, example), "readme");
  }
});
