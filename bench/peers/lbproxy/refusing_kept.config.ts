import { defineConfig } from "../../../mod.ts";
import { listen, servers } from "./environment.ts";

/** Refuses every request but the first, and keeps connections open. */
export default defineConfig({
  listen,
  upstreams: servers,
  limiter: { key: "header:appid", limit: 1, window: "1h", keepAlive: true },
});
