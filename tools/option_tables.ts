/**
 * Writes the tables of options into the pages of `docs/`, from the types and their docstrings.
 *
 * In a page, `<!-- options: RetryOptions -->` begins a table and `<!-- end -->` ends it. `--check` changes nothing, and fails
 * if a page is out of date.
 */

import { type DocSymbols, type DocumentedOption, lineage, optionsOf, readSymbols } from "./doc_types.ts";

/** The place of a table; `only` and `without` after the interface select its options. */
const TABLE =
  /(<!-- options: ([\w.]+)(?: only ([\w, ]+?))?(?: without ([\w, ]+?))? -->\n).*?(<!-- end -->)/gs;

/** The place of each interface's table, as a link target from a page of `docs/`. */
export type TablePlaces = ReadonlyMap<string, string>;

/** Finds the tables. @param pages names and texts of the pages in `docs/` */
export function findTables(pages: Iterable<readonly [name: string, page: string]>): TablePlaces {
  const places = new Map([["KeySpec", "limiting.md#keys"]]);
  for (const [name, page] of [...pages].sort(([a], [b]) => a < b ? -1 : 1)) {
    for (const [, , type, only] of page.matchAll(TABLE)) {
      if (only === undefined && !places.has(type!)) places.set(type!, `${name}#${type!.toLowerCase()}`);
    }
  }
  return places;
}

/** Replaces the tables of a page; types with a table elsewhere get a link to it. */
export function writeTables(page: string, symbols: DocSymbols, places: TablePlaces): string {
  return page.replace(
    TABLE,
    (_all, begin: string, name: string, only?: string, without?: string, end?: string) => {
      const chosen = choose(optionsOf(symbols, name), names(only), names(without));
      return `${begin}\n<a id="${name.toLowerCase()}"></a>\n\n${
        table(chosen, places, lineage(symbols, name))
      }\n\n${details(chosen)}${end}`;
    },
  );
}

/** The interfaces and options that the tables of a page contain. */
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

function table(options: readonly DocumentedOption[], places: TablePlaces, owners: readonly string[]): string {
  const rows = options.map(({ name, type, defaultValue, required, summary }) => {
    const preset = required ? "required" : defaultValue || "none";
    return `| \`${name}\` | ${cell(`\`${type}\``)} | ${cell(preset)} | ${
      cell(summary + linksOf(type, places, owners.map((owner) => `${owner}.${name}`)))
    } |`;
  });
  return ["| option | type | default | meaning |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

/**
 * Links to the tables that explain the options of an option.
 *
 * @param own names of the option with its owner, whose options may have a table
 */
function linksOf(type: string, places: TablePlaces, own: readonly string[]): string {
  const named = [...new Set(type.match(/\b[A-Z]\w+/g) ?? []), ...own].filter((name) => places.has(name));
  if (named.length === 0) return "";
  return ` See ${named.map((name) => `[\`${name}\`](${places.get(name)})`).join(", ")}.`;
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

/** Formats a page with `deno fmt`, which aligns the columns. */
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
  const pages: [name: string, page: string][] = [];
  for await (const { name } of Deno.readDir(`${root}/docs`)) {
    if (name.endsWith(".md")) pages.push([name, await Deno.readTextFile(`${root}/docs/${name}`)]);
  }
  const places = findTables(pages);
  const stale: string[] = [];
  for (const [name, before] of pages) {
    const after = await formatPage(writeTables(before, symbols, places));
    if (after === before) continue;
    stale.push(name);
    if (!Deno.args.includes("--check")) await Deno.writeTextFile(`${root}/docs/${name}`, after);
  }
  if (stale.length > 0 && Deno.args.includes("--check")) {
    throw new Error(`Run deno task docs: the tables of ${stale.join(", ")} are not what the types say`);
  }
}

if (import.meta.main) await main();
