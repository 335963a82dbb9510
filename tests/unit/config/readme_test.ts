/** The README names every option: what an operator cannot read about is not there. */

import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../../lib/config/config_error.ts";
import { resolveConfig } from "../../../lib/config/resolve_config.ts";

const upstreams = ["a:80"];
const NOBODYS = "zzzzzzzzzzzz";

/** A stray key in each object that has options. */
const PLACES: Readonly<Record<string, unknown>> = {
  "": { upstreams, [NOBODYS]: 1 },
  "listen.": { upstreams, listen: { [NOBODYS]: 1 } },
  "upstreams.": { upstreams: { servers: upstreams, [NOBODYS]: 1 } },
  "upstreams[0].": { upstreams: [{ address: "a:80", [NOBODYS]: 1 }] },
  "upstreams.tls.": { upstreams: { servers: upstreams, tls: { [NOBODYS]: 1 } } },
  "upstreams.healthCheck.": { upstreams: { servers: upstreams, healthCheck: { type: "tcp", [NOBODYS]: 1 } } },
  "upstreams.timeouts.": { upstreams: { servers: upstreams, timeouts: { [NOBODYS]: 1 } } },
  "upstreams.connections.": { upstreams: { servers: upstreams, connections: { [NOBODYS]: 1 } } },
  "upstreams.ejection.": { upstreams: { servers: upstreams, ejection: { [NOBODYS]: 1 } } },
  "upstreams.slowStart.": { upstreams: { servers: upstreams, slowStart: { [NOBODYS]: 1 } } },
  "upstreams.queue.": { upstreams: { servers: upstreams, queue: { [NOBODYS]: 1 } } },
  "upstreams.sticky.": { upstreams: { servers: upstreams, sticky: { [NOBODYS]: 1 } } },
  "routes[0].": { upstreams, routes: [{ [NOBODYS]: 1 }] },
  "routes[0].match.": { upstreams, routes: [{ match: { [NOBODYS]: 1 } }] },
  "routes[0].rewrite.": { upstreams, routes: [{ rewrite: { [NOBODYS]: 1 } }] },
  "trustedProxies.": { upstreams, trustedProxies: { from: [], [NOBODYS]: 1 } },
  "filters[0].": { upstreams, filters: [{ [NOBODYS]: 1 }] },
  "admin.": { upstreams, admin: { [NOBODYS]: 1 } },
  "admin.readyz.": { upstreams, admin: { readyz: { [NOBODYS]: 1 } } },
  "limiter.": { upstreams, limiter: { key: "ip", limit: 1, window: "1s", [NOBODYS]: 1 } },
};

/** The options that an object can have, by what is said of the stray key in it. */
function optionsAt(place: string, config: unknown): string[] {
  const { problems } = assertThrows(() => resolveConfig(config), ConfigError);
  const problem = problems.find(({ path }) => path === place + NOBODYS);
  return Array.from(problem?.message.matchAll(/"(\w+)"/g) ?? [], ([, name]) => name!);
}

Deno.test("README.md names every option of the configuration", async () => {
  const text = await Deno.readTextFile(new URL("../../../README.md", import.meta.url));
  const about = text.slice(text.indexOf("## Options"), text.indexOf("## What happens to a request"))
    .replaceAll(/```[^]*?```/g, "");
  const words = new Set(Array.from(about.matchAll(/`[^`]+`/g), ([code]) => code.match(/\w+/g) ?? []).flat());
  for (const [place, config] of Object.entries(PLACES)) {
    const options = optionsAt(place, config);
    assertEquals(options.length > 0, true, place);
    assertEquals(options.filter((name) => !words.has(name)), [], `options of ${place} that are missing`);
  }
});
