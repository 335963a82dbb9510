import { assertStrictEquals } from "@std/assert";
import { defineConfig, type ProxyConfig } from "../../../lib/config/proxy_config.ts";
import { resolveConfig } from "../../../lib/config/resolve_config.ts";

Deno.test("defineConfig() returns the very object", () => {
  const config: ProxyConfig = { upstreams: ["a:80"] };
  assertStrictEquals(defineConfig(config), config);
});

Deno.test("defineConfig() gives ctx.state the type of what newContext returns", () => {
  const config = defineConfig({
    upstreams: ["a:80"],
    newContext: (request) => ({ path: new URL(request.url).pathname, seen: 0 }),
    limiter: { key: (_request, ctx) => ctx.state.path, limit: (_key, ctx) => ctx.state.seen, window: "1s" },
    requestFilter(_request, ctx) {
      ctx.state.seen++;
      // @ts-expect-error: there is no such property
      ctx.state.nothing;
    },
    async upstreamRequestFilter(request, ctx) {
      await Promise.resolve();
      request.headers.set("x-path", ctx.state.path);
    },
    upstreamPeer: (_request, ctx) => ctx.state.path === "/" ? "default" : undefined,
    failToProxy: (error) => new Response(null, { status: error.status }),
    logging(ctx, error) {
      const seen: number = ctx.state.seen;
      // @ts-expect-error: the state is no string
      const wrong: string = ctx.state;
      return void [seen, wrong, error?.code];
    },
  });
  resolveConfig(config);
});

Deno.test("defineConfig() refuses what the schema refuses", () => {
  // @ts-expect-error: misspelt
  defineConfig({ upstreams: ["a:80"], limitter: {} });
  // @ts-expect-error: there is no such type of check
  defineConfig({ upstreams: { servers: ["a:80"], healthCheck: { type: "udp" } } });
  // @ts-expect-error: no upstreams
  defineConfig({});
});
