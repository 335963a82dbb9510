import { defineConfig } from "../../../mod.ts";
import { listen, servers } from "./environment.ts";

const [hostname, port] = listen.split(":");

export default defineConfig({
  listen: { hostname: hostname!, port: Number(port), engine: "deno" },
  upstreams: servers,
});
