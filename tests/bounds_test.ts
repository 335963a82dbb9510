/** `docs/bounds.md` names for each bound a test that reaches it: those must be there. */

import { assert, assertEquals } from "@std/assert";

const ROOT = import.meta.dirname!;
const PAGE = await Deno.readTextFile(`${ROOT}/../docs/bounds.md`);

/** A row of a table: what, bound, option, what happens, and the test. */
interface Row {
  readonly what: string;
  readonly bound: string;
  readonly reached: string;
  readonly file: string;
  readonly test: string;
}

function rowsOf(page: string): Row[] {
  const lines = page.split("\n").filter((line) =>
    line.startsWith("| ") && !/^\| (?:what +\||---)/.test(line)
  );
  return lines.map((line) => {
    const [what = "", bound = "", , reached = "", named = ""] = line.slice(1, -1).split(" | ").map((cell) =>
      cell.trim()
    );
    const [, file = "", test = ""] = /^`([^`]+)`: "(.+)"$/.exec(named) ?? [];
    return { what, bound, reached, file, test };
  });
}

const ROWS = rowsOf(PAGE);

Deno.test("docs/bounds.md has a test for each bound, by its name", async () => {
  assert(ROWS.length >= 40, `${ROWS.length} rows`);
  const missing: string[] = [];
  for (const { what, bound, reached, file, test } of ROWS) {
    const complete = what !== "" && bound !== "" && reached !== "" && file !== "" && test !== "";
    const text = complete ? await Deno.readTextFile(`${ROOT}/${file}`).catch(() => "") : "";
    if (!text.includes(`"${test}"`)) missing.push(`${what}: ${file} ${test}`);
  }
  assertEquals(missing, []);
});
