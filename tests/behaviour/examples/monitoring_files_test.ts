/** The alert rules and the dashboard in `examples/deploy/`. */

import { assert, assertEquals } from "@std/assert";
import { METRICS } from "../../../lib/observe/metrics/catalog.ts";
import { findProgram } from "../../support/find_program.ts";

const DEPLOY = new URL("../../../examples/deploy/", import.meta.url);
const RULES = new URL("alerts.rules.yml", DEPLOY);
const PROMTOOL = await findProgram("promtool");

interface Panel {
  title: string;
  targets: { expr: string; legendFormat: string }[];
}

async function panels(): Promise<Panel[]> {
  return JSON.parse(await Deno.readTextFile(new URL("grafana-dashboard.json", DEPLOY))).panels;
}

async function checkRules(path: string): Promise<[code: number, said: string]> {
  const { code, stdout, stderr } = await new Deno.Command("promtool", { args: ["check", "rules", path] })
    .output();
  return [code, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr)];
}

/** Names and labels that queries can use. */
const KNOWN = new Map<string, readonly string[]>(
  Object.values(METRICS).flatMap(({ name, type, labels }): [string, readonly string[]][] =>
    type === "histogram"
      ? ["_bucket", "_sum", "_count"].map((end) => [name + end, [...labels, "le"]])
      : [[name, labels]]
  ),
);

/** Fails for metrics that there are not, and labels that they do not have. */
function checkQuery(query: string): void {
  const metrics = Array.from(query.matchAll(/\b(lbproxy_\w+)(?:\{([^}]*)\})?/g));
  for (const [, name, selector = ""] of metrics) {
    assert(KNOWN.has(name!), `there is no ${name}: ${query}`);
    for (const [, label] of selector.matchAll(/(\w+)(?:=~?|!=|!~)"/g)) {
      assert(label === "instance" || KNOWN.get(name!)!.includes(label!), `${name} has no ${label}: ${query}`);
    }
    for (const [, by] of query.matchAll(/by \(([^)]*)\)/g)) {
      for (const label of by!.split(",").map((each) => each.trim())) {
        assert(
          label === "instance" || KNOWN.get(name!)!.includes(label),
          `${name} has no ${label}: ${query}`,
        );
      }
    }
  }
}

Deno.test("alert rules and dashboard use metrics and labels that there are", async () => {
  const rules = await Deno.readTextFile(RULES);
  const queries = rules.split(/\n {6}- alert: /).slice(1).map((rule) =>
    rule.split(/\n {8}(?:for|labels):/)[0]!
  );
  const shown = (await panels()).flatMap(({ targets }) => targets.map(({ expr }) => expr));
  assert(queries.length > 10 && shown.length > 10);
  for (const query of [...queries, ...shown]) checkQuery(query);
});

Deno.test(`promtool finds nothing wrong with the alert rules${PROMTOOL.missing}`, PROMTOOL, async () => {
  const [code, said] = await checkRules(RULES.pathname);
  assertEquals(code, 0, said);
});

Deno.test(`promtool understands every query of the dashboard${PROMTOOL.missing}`, PROMTOOL, async () => {
  const shown = (await panels()).flatMap(({ targets }) => targets.map(({ expr }) => expr));
  const rules = shown.map((expr, i) => ({
    record: `panel:${i}`,
    expr: expr.replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".*"),
  }));
  const path = await Deno.makeTempFile({ suffix: ".yml" });
  try {
    // JSON is YAML.
    await Deno.writeTextFile(path, JSON.stringify({ groups: [{ name: "panels", rules }] }));
    const [code, said] = await checkRules(path);
    assertEquals(code, 0, said);
  } finally {
    await Deno.remove(path);
  }
});
