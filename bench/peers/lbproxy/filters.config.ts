import { defineConfig } from "../../../mod.ts";
import { listen, servers } from "./environment.ts";

/** One filter on each side, as the tutorial's program and most others have them. */
export default defineConfig({
  listen,
  upstreams: servers,
  upstreamRequestFilter(request) {
    request.headers.set("host", "one.one.one.one");
  },
  responseFilter(response) {
    response.headers.set("x-served-by", "lbproxy");
  },
});
