/** Caddy, on one processor. */

import type { Peer } from "../peer.ts";

/** Caddy. */
export const caddy: Peer = {
  name: "caddy",
  title: "Caddy",
  kind: "proxy",
  program: "caddy",
  install: "apt-get install caddy",
  versionArgs: ["version"],
  async prepare({ port, servers, directory }) {
    const file = `${directory}/Caddyfile`;
    await Deno.writeTextFile(
      file,
      `{
  admin off
  auto_https off
  log {
    output discard
  }
}
http://127.0.0.1:${port} {
  reverse_proxy ${servers.map((server) => `127.0.0.1:${server}`).join(" ")} {
    lb_policy round_robin
    transport http {
      keepalive_idle_conns_per_host 256
    }
  }
}
`,
    );
    const env = { GOMAXPROCS: "1", XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory };
    return { command: "caddy", args: ["run", "--adapter", "caddyfile", "--config", file], env };
  },
};
