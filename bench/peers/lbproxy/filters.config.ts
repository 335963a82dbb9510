import { defineConfig } from "../../../mod.ts";
import { listen, servers } from "./environment.ts";

/** One filter for requests and one for responses, as in the tutorial's program. */
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
