/**
 * Writes the tables of options into the pages of `docs/`, from the types and their docstrings.
 *
 * A page says where: `<!-- options: RetryOptions -->` begins a table and `<!-- end -->` ends it. `--check` changes nothing and
 * fails when a page is not what it would be.
 */

import { type DocSymbols, type DocumentedOption, optionsOf, readSymbols } from "./doc_types.ts";

/** Where a table goes; a list of names behind the interface leaves the other options out. */
const TABLE = /(<!-- options: (\w+)(?: only ([\w, ]+?))?(?: without ([\w, ]+?))? -->\n).*?(<!-- end -->)/gs;

/** Replaces the tables of a page. */
export function writeTables(page: string, symbols: DocSymbols): string {
  return page.replace(
    TABLE,
    (_all, begin: string, name: string, only?: string, without?: string, end?: string) => {
      const chosen = choose(optionsOf(symbols, name), names(only), names(without));
      return `${begin}\n${table(chosen)}\n\n${details(chosen)}${end}`;
    },
  );
}

/** Which options of which interfaces the tables of a page show. */
export function tablesOf(page: string, symbols: DocSymbols): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const [, , name, only, without] of page.matchAll(TABLE)) {
    const chosen = choose(optionsOf(symbols, name!), names(only), names(without)).map((option) =>
      option.name
    );
    found.set(name!, [...found.get(name!) ?? [], ...chosen]);
  }
  return found;
}

function names(list = ""): string[] {
  return list.split(",").map((name) => name.trim()).filter((name) => name !== "");
}

function choose(options: DocumentedOption[], only: string[], without: string[]): DocumentedOption[] {
  for (const name of [...only, ...without]) {
    if (!options.some((option) => option.name === name)) {
      throw new Error(`Cannot show the option "${name}": there is none`);
    }
  }
  return options.filter(({ name }) => (only.length === 0 || only.includes(name)) && !without.includes(name));
}

function table(options: readonly DocumentedOption[]): string {
  const rows = options.map(({ name, type, defaultValue, required, summary }) => {
    const preset = required ? "required" : defaultValue || "none";
    return `| \`${name}\` | ${cell(`\`${type}\``)} | ${cell(preset)} | ${cell(summary)} |`;
  });
  return ["| option | type | default | meaning |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

function details(options: readonly DocumentedOption[]): string {
  const items = options.filter((option) => option.details !== "").map(({ name, details }) =>
    `- \`${name}\`: ${details}`
  );
  return items.length === 0 ? "" : `${items.join("\n")}\n\n`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

/** Formats as `deno fmt` does, which lines the columns up. */
export async function formatPage(page: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", "md", "--quiet", "-"],
    cwd: new URL("..", import.meta.url).pathname,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const output = child.output();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(page));
  await writer.close();
  return new TextDecoder().decode((await output).stdout);
}

async function main(): Promise<void> {
  const root = new URL("..", import.meta.url).pathname;
  const symbols = await readSymbols("mod.ts", root);
  const stale: string[] = [];
  for await (const { name } of Deno.readDir(`${root}/docs`)) {
    if (!name.endsWith(".md")) continue;
    const path = `${root}/docs/${name}`;
    const before = await Deno.readTextFile(path);
    const after = await formatPage(writeTables(before, symbols));
    if (after === before) continue;
    stale.push(name);
    if (!Deno.args.includes("--check")) await Deno.writeTextFile(path, after);
  }
  if (stale.length > 0 && Deno.args.includes("--check")) {
    throw new Error(`Run deno task docs: the tables of ${stale.join(", ")} are not what the types say`);
  }
}

if (import.meta.main) await main();
