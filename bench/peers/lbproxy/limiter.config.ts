import { defineConfig } from "../../../mod.ts";
import { listen, servers } from "./environment.ts";

/** Counts every request, and refuses none. */
export default defineConfig({
  listen,
  upstreams: servers,
  limiter: { key: "header:appid", limit: 1_000_000_000, window: "1s" },
});
