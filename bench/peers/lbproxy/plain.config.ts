import { defineConfig } from "../../../mod.ts";
import { listen, servers } from "./environment.ts";

export default defineConfig({ listen, upstreams: servers });
