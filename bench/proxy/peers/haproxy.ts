/** HAProxy, with one thread and shared connections to the servers. */

import type { Peer } from "../peer.ts";

/** HAProxy. */
export const haproxy: Peer = {
  name: "haproxy",
  title: "HAProxy",
  kind: "proxy",
  program: "haproxy",
  install: "apt-get install haproxy",
  versionArgs: ["-v"],
  async prepare({ port, servers, directory }) {
    const file = `${directory}/haproxy.cfg`;
    await Deno.writeTextFile(
      file,
      `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 3s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:${port}
  default_backend servers
backend servers
  balance roundrobin
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
${servers.map((server, i) => `  server s${i} 127.0.0.1:${server}`).join("\n")}
`,
    );
    return { command: "haproxy", args: ["-db", "-q", "-f", file] };
  },
};
